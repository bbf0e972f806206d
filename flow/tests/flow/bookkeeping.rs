//! Tables of the driver: what is over takes nothing, however many different ones there were.

use mailring::flow::{Error, Flow, ObjectRef, Packing, Resources, node};
use testkit::flow::{flow, infeasible};
use testkit::{bounds_memory, own_kib};

#[node]
fn nothing() {}

/// Each of so many rounds leaves at most so many bytes, after some to fill what is kept in any case.
fn leaves_at_most(bytes: u64, rounds: usize, mut round: impl FnMut(usize)) {
    let own = || own_kib(std::process::id());
    (0..rounds / 4).for_each(&mut round);
    let before = own();
    (rounds / 4..rounds).for_each(&mut round);
    let left = own().saturating_sub(before) * 1024 / (rounds as u64 * 3 / 4);
    assert!(left < bytes || !bounds_memory(), "{left} bytes each");
}

pub(crate) fn priorities_take_nothing() {
    let flow = flow(1);
    leaves_at_most(24, 40_000, |round| {
        nothing::options().priority(round as i32).remote_blocking(&flow).unwrap();
    });
}

pub(crate) fn placement_groups_take_nothing() {
    let flow = flow(1);
    leaves_at_most(24, 20_000, |_| {
        let group = flow.placement_group(&[Resources::cpus(1.0)], Packing::Pack).unwrap();
        nothing::options().placed(&group, None).remote_blocking(&flow).unwrap();
    });
}

pub(crate) fn labels_that_nobody_has_are_not_entered() {
    let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0).with("lock", 1.0));
    let flow = flow.memory(64 << 20).build().unwrap();
    leaves_at_most(24, 200_000, |round| {
        let label = format!("lock-{round}");
        let refused = nothing::options().resource(&label, 1.0).remote(&flow);
        assert!(matches!(refused, Err(Error::Infeasible { .. })), "{label}");
        if round % 20 == 0 {
            let bundle = Resources::cpus(1.0).with(&label, 1.0);
            let refused = flow.placement_group(&[bundle], Packing::Pack);
            assert!(matches!(refused, Err(Error::Infeasible { .. })), "{label}");
        }
    });
    let (needs, why) = infeasible(nothing::options().resource("lock-7", 1.0).remote(&flow));
    assert!(needs.contains("cpus 1, lock-7 1") && why.contains("lock 1"), "{needs}: {why}");
    nothing::options().resource("lock", 1.0).remote_blocking(&flow).unwrap();
}

pub(crate) fn labels_that_are_waited_for_come_and_go() {
    let flow = flow(1);
    let wait = |round: usize| {
        let label = format!("lock-{round}");
        nothing::options().resource(&label, 1.0).wait_infeasible().remote(&flow).unwrap()
    };
    let cancel = |all: &[ObjectRef<()>]| {
        flow.cancel_many(all, mailring::flow::Cancel::default()).unwrap();
    };
    leaves_at_most(2_400, 120, |round| {
        let all: Vec<_> = (round * 100..round * 100 + 100).map(wait).collect();
        cancel(&all);
    });
    // One that is waited for is found when a worker comes that has it.
    let waits = wait(7);
    flow.add_workers("more", 1, &Resources::cpus(1.0).with("lock-7", 1.0)).unwrap();
    assert_eq!(waits.get(), Ok(()));
    nothing::options().resource("lock-7", 1.0).remote_blocking(&flow).unwrap();
}
