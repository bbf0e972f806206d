//! Planted defects: each is a small wrong step that the protocol avoids, and each must be found.
//!
//! `caught` runs a scenario with the defect in it and fails when the checker finds nothing: then
//! it is the check that is broken.

mod alarms;
mod calls;
mod groups;
mod leases;
mod parking;
mod ready_queue;
mod release;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checker::{explore, explore_kills};
use super::crash::Kill;

fn caught(name: &str, bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let end = catch_unwind(AssertUnwindSafe(|| explore(name, bound, model)));
    report(name, end);
}

fn caught_with_a_death(name: &str, bound: usize, model: impl Fn(&Kill) + Send + Sync + 'static) {
    let end = catch_unwind(AssertUnwindSafe(|| explore_kills(name, bound, model)));
    report(name, end);
}

fn report(name: &str, end: std::thread::Result<()>) {
    let Err(payload) = end else { panic!("planted defect not found: {name}") };
    let text = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default();
    println!("planted {name}: caught, {}", text.lines().next().unwrap_or_default());
}
