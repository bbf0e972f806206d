//! What the shared files need of shuttle.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use super::crash::Kill;

pub(crate) use shuttle::sync::atomic::{
    AtomicU32 as RawU32, AtomicU64 as RawU64, fence as raw_fence,
};
pub(crate) use shuttle::thread::spawn;
pub(crate) use shuttle::thread_local;

/// Needed on loom only.
pub(crate) struct Reads;

impl Reads {
    pub(crate) fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as on loom")]
    pub(crate) fn note(&self) {}
}

/// Loom's bound; nothing here.
pub(crate) const ALL: usize = 0;

/// A schedule is cheap here, so a thread may die before any operation at all.
pub(crate) const DIES_AT_LOADS: bool = true;

/// Schedules of each scenario, unless more are asked for. A quarter of them by the priorities of
/// PCT, the others at random.
const SCHEDULES: usize = 8_000;
const PCT_DEPTH: usize = 3;
/// No thread of a scenario takes more steps than this; a point beyond its last one kills nobody.
const LAST_POINT: u32 = 60;

/// Runs `model` in many schedules. The bound is loom's.
pub(crate) fn explore(name: &str, _bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("MODEL_SCHEDULES").ok().and_then(|n| n.parse().ok());
    let schedules: usize = asked.unwrap_or(SCHEDULES);
    let (pct, random) = (schedules / 4, schedules - schedules / 4);
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    Runner::new(RandomScheduler::new(random), config()).run(move || model());
    Runner::new(PctScheduler::new(PCT_DEPTH, pct), config()).run(move || again());
    println!("shuttle {name}: {random} random and {pct} PCT schedules");
}

/// The same with a point of death drawn for each schedule.
pub(crate) fn explore_kills(
    name: &str,
    bound: usize,
    model: impl Fn(&Kill) + Send + Sync + 'static,
) {
    explore(name, bound, move || {
        let point = shuttle::rand::thread_rng().gen_range(0..LAST_POINT);
        model(&Kill::at(point, Arc::new(AtomicBool::new(false))));
    });
}

fn config() -> Config {
    let mut config = Config::new();
    config.silence_warnings = true; // it warns that relaxed accesses are treated as sequential
    config
}
