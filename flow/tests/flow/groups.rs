//! Placement groups: how bundles are laid over workers, what runs in them, what comes back.

use std::time::Duration;

use mailring::flow::{Cause, Error, Flow, Packing, Pending, PlacementGroup, Resources};
use testkit::eventually;
use testkit::flow::{Gate, all_free, failed, hold, infeasible, pid, worker_of};

/// Workers with so many cpus each: `w0/0`, `w1/0`, ...
fn with_cpus(each: &[f64]) -> Flow {
    let mut builder = Flow::builder().memory(64 << 20);
    for (at, &cpus) in each.iter().enumerate() {
        builder = builder.workers(&format!("w{at}"), 1, Resources::cpus(cpus));
    }
    builder.build().unwrap()
}

fn bundles(cpus: &[f64]) -> Vec<Resources> {
    cpus.iter().map(|&cpus| Resources::cpus(cpus)).collect()
}

#[track_caller]
fn group(flow: &Flow, cpus: &[f64], packing: Packing) -> PlacementGroup {
    let group = flow.placement_group(&bundles(cpus), packing).unwrap();
    group.wait_ready(Duration::from_secs(10)).unwrap();
    group
}

fn free(flow: &Flow) -> Vec<String> {
    flow.workers().unwrap().into_iter().map(|worker| worker.free).collect()
}

// ---- packing ------------------------------------------------------------------------------------

pub(crate) fn pack_and_strict_pack() {
    let flow = with_cpus(&[2.0, 2.0]);
    for packing in [Packing::Pack, Packing::StrictPack] {
        let both = group(&flow, &[1.0, 1.0], packing);
        assert_eq!(both.workers(), ["w0/0"; 2], "{packing:?}");
        assert_eq!(free(&flow), ["cpus 0", "cpus 2"]);
    }
    let more = group(&flow, &[1.0, 1.0, 2.0], Packing::Pack);
    let workers = more.workers();
    assert!(workers[0] == workers[1] && workers[1] != workers[2], "two will do: {workers:?}");
}

pub(crate) fn pack_takes_the_worker_that_holds_it_all() {
    let flow = with_cpus(&[1.0, 2.0]);
    let both = group(&flow, &[1.0, 1.0], Packing::Pack);
    assert_eq!(both.workers(), ["w1/0"; 2], "one worker is fewer than two");
}

pub(crate) fn spread_and_strict_spread() {
    let flow = with_cpus(&[2.0, 2.0]);
    for packing in [Packing::Spread, Packing::StrictSpread] {
        let both = group(&flow, &[1.0, 1.0], packing);
        assert_eq!(both.workers(), ["w0/0", "w1/0"], "{packing:?}");
        assert_eq!(free(&flow), ["cpus 1"; 2]);
    }
    let three = group(&flow, &[1.0; 3], Packing::Spread);
    let mut workers = three.workers();
    workers.sort();
    workers.dedup();
    assert_eq!(workers, ["w0/0", "w1/0"], "as far as possible");
}

pub(crate) fn the_order_of_bundles_does_not_matter() {
    for packing in [Packing::Pack, Packing::Spread, Packing::StrictSpread] {
        let flow = with_cpus(&[2.0, 1.0]);
        let both = group(&flow, &[1.0, 2.0], packing);
        assert_eq!(both.workers(), ["w1/0", "w0/0"], "{packing:?}");
    }
}

pub(crate) fn groups_that_can_never_be() {
    let flow = with_cpus(&[2.0, 2.0]);
    let never = [
        (Packing::StrictPack, &[2.0, 1.0][..]),
        (Packing::StrictSpread, &[0.5, 0.5, 0.5]),
        (Packing::Pack, &[3.0]),
        (Packing::Spread, &[2.0, 2.0, 1.0]),
    ];
    for (packing, cpus) in never {
        let refused = flow.placement_group(&bundles(cpus), packing).map(|_| ());
        let (needs, why) = infeasible(refused);
        assert!(needs.starts_with(&format!("cpus {}", cpus[0])), "{needs}");
        assert!(why.contains("2 workers"), "{why}");
    }
    let board = [Resources::cpus(1.0).with("board", 1.0)];
    assert!(
        infeasible(flow.placement_group(&board, Packing::Pack).map(|_| ())).0.contains("board 1")
    );
    let none = flow.placement_group(&[], Packing::Pack).map(|_| ());
    assert!(matches!(&none, Err(Error::Invalid(why)) if why.contains("bundle")), "{none:?}");
    let negative = flow.placement_group(&bundles(&[-1.0]), Packing::Pack).map(|_| ());
    assert!(matches!(negative, Err(Error::Quantity(_))), "{negative:?}");
    assert_eq!(free(&flow), ["cpus 2"; 2]);
}

// ---- what runs there ----------------------------------------------------------------------------

pub(crate) fn tasks_run_in_the_bundle_that_they_name() {
    let flow = with_cpus(&[1.0, 2.0, 1.0]);
    let both = group(&flow, &[1.0, 1.0], Packing::StrictSpread);
    let workers = both.workers();
    for (at, worker) in workers.iter().enumerate() {
        for _ in 0..3 {
            let pid = pid::options().placed(&both, Some(at)).remote_blocking(&flow).unwrap();
            assert_eq!(&worker_of(&flow, pid), worker);
        }
    }
    let any = pid::options().placed(&both, None).remote_blocking(&flow).unwrap();
    assert!(workers.contains(&worker_of(&flow, any)));
    // Both bundles are used when none is named.
    let gate = Gate::new();
    let call = hold::options().placed(&both, None);
    let all: Vec<_> =
        ["x", "y", "z"].map(|who| call.remote(&flow, gate.path(), who).unwrap()).into();
    gate.await_begun(2);
    assert!(matches!(flow.pending(&all[2]), Ok(Pending::Resources { .. })));
    gate.open();
    assert_eq!(flow.get_all(&all), Ok(vec![true; 3]));
}

pub(crate) fn bundles_that_are_too_small_or_not_there() {
    let flow = with_cpus(&[4.0]);
    let both = group(&flow, &[1.0, 2.0], Packing::Pack);
    let call = pid::options().placed(&both, Some(2));
    let (_, why) = infeasible(call.remote(&flow));
    assert!(why.contains("2 bundles") && why.contains("number 2"), "{why}");
    let (needs, why) = infeasible(pid::options().placed(&both, Some(0)).cpus(2.0).remote(&flow));
    assert_eq!(needs, "cpus 2");
    assert!(why.contains("cpus 1"), "{why}");
    let (_, why) = infeasible(pid::options().placed(&both, None).cpus(3.0).remote(&flow));
    assert!(why.contains("cpus 1 | cpus 2"), "{why}");
    let fits = pid::options().placed(&both, None).cpus(2.0).remote_blocking(&flow);
    assert!(fits.is_ok(), "{fits:?}");
}

pub(crate) fn what_is_reserved_is_not_for_others() {
    let flow = with_cpus(&[2.0]);
    let all = group(&flow, &[2.0], Packing::Pack);
    let outside = pid::remote(&flow).unwrap();
    assert!(!outside.wait_timeout(Duration::from_millis(30)));
    assert!(matches!(flow.pending(&outside), Ok(Pending::Resources { .. })));
    assert!(pid::options().placed(&all, Some(0)).remote_blocking(&flow).is_ok());
    assert!(!outside.is_ready());
    drop(all);
    assert!(outside.get_timeout(Duration::from_secs(10)).is_ok(), "it was given back");
    all_free(&flow);
}

// ---- waiting for a reservation ------------------------------------------------------------------

pub(crate) fn a_group_waits_until_all_of_it_is_free() {
    let flow = with_cpus(&[1.0, 1.0]);
    let gate = Gate::new();
    let held = hold::remote(&flow, gate.path(), "one").unwrap();
    gate.await_begun(1);
    let both = flow.placement_group(&bundles(&[1.0, 1.0]), Packing::Spread).unwrap();
    assert!(!both.is_ready());
    assert_eq!(both.workers(), Vec::<String>::new());
    let late = both.wait_ready(Duration::from_millis(20));
    assert!(matches!(late, Err(Error::Timeout(..))), "{late:?}");
    let inside = pid::options().placed(&both, Some(1)).remote(&flow).unwrap();
    assert!(!inside.is_ready());
    gate.open();
    assert_eq!(held.get(), Ok(true));
    both.wait_ready(Duration::from_secs(10)).unwrap();
    assert_eq!(both.workers().len(), 2);
    assert!(inside.get_timeout(Duration::from_secs(10)).is_ok());
}

pub(crate) fn a_group_waits_for_another_that_is_dropped() {
    let flow = with_cpus(&[2.0]);
    let first = group(&flow, &[2.0], Packing::Pack);
    let second = flow.placement_group(&bundles(&[1.0, 1.0]), Packing::Pack).unwrap();
    let inside = pid::options().placed(&second, None).remote(&flow).unwrap();
    assert!(!second.is_ready());
    drop(first);
    second.wait_ready(Duration::from_secs(5)).unwrap();
    assert!(inside.get_timeout(Duration::from_secs(5)).is_ok());
}

pub(crate) fn a_group_waits_for_workers_to_come() {
    let flow = with_cpus(&[2.0]);
    let first = group(&flow, &[2.0], Packing::Pack);
    let second = flow.placement_group(&bundles(&[1.0]), Packing::Pack).unwrap();
    assert!(!second.is_ready());
    flow.add_workers("more", 1, &Resources::cpus(1.0)).unwrap();
    second.wait_ready(Duration::from_secs(5)).unwrap();
    assert_eq!(second.workers(), ["more/0"]);
    drop((first, second));
    all_free(&flow);
}

// ---- dropped ------------------------------------------------------------------------------------

pub(crate) fn a_dropped_group_gives_back() {
    let flow = Flow::builder()
        .workers("lab", 1, Resources::cpus(2.0).with("board", 1.0))
        .memory(64 << 20)
        .build()
        .unwrap();
    for _ in 0..3 {
        let bundle = [Resources::cpus(1.5).with("board", 0.5)];
        let reserved = flow.placement_group(&bundle, Packing::Pack).unwrap();
        assert!(reserved.is_ready());
        assert_eq!(free(&flow), ["cpus 0.5, board 0.5"]);
        drop(reserved);
        assert_eq!(free(&flow), ["cpus 2, board 1"]);
    }
}

pub(crate) fn tasks_of_a_dropped_group() {
    let flow = with_cpus(&[2.0]);
    let gate = Gate::new();
    let one = group(&flow, &[1.0], Packing::Pack);
    let call = hold::options().placed(&one, Some(0));
    let running = call.remote(&flow, gate.path(), "running").unwrap();
    gate.await_begun(1);
    let queued = call.remote(&flow, gate.path(), "queued").unwrap();
    drop(one);
    // What runs goes on; what can never run any more says so.
    let error = failed(queued.get_timeout(Duration::from_secs(10)));
    assert!(matches!(&error.cause, Cause::Infeasible(why) if why.contains("removed")), "{error}");
    let (_, why) = infeasible(call.remote(&flow, gate.path(), "later"));
    assert!(why.contains("removed"), "{why}");
    assert!(!running.is_ready());
    assert_eq!(free(&flow), ["cpus 1"], "what runs still holds its cpu");
    gate.open();
    assert_eq!(running.get(), Ok(true));
    all_free(&flow);
    eventually("all of it is there again", || free(&flow) == ["cpus 2"]);
}

pub(crate) fn a_group_of_another_flow() {
    let (ours, theirs) = (with_cpus(&[1.0]), with_cpus(&[1.0]));
    // The same in both, so that their tables look alike.
    let here = group(&ours, &[1.0], Packing::Pack);
    let there = group(&theirs, &[1.0], Packing::Pack);
    let refused = pid::options().placed(&here, Some(0)).remote(&theirs);
    assert!(matches!(refused, Err(Error::Infeasible { .. } | Error::Invalid(_))), "{refused:?}");
    for (flow, group) in [(&ours, &here), (&theirs, &there)] {
        assert!(pid::options().placed(group, Some(0)).remote_blocking(flow).is_ok());
    }
}
