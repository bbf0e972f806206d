//! What needs more than is free now gets it in the end, whatever smaller tasks there are.

use std::time::{Duration, Instant};

use mailring::flow::{
    ActorOptions, Error, Flow, ObjectRef, Packing, Pending, Resources, actor, node,
};
use testkit::eventually;
use testkit::flow::{all_free, nap};

const LONG: Duration = Duration::from_secs(15);

#[node]
fn nothing() {}

#[node]
fn after(before: u64) -> u64 {
    before
}

/// Keeps the queue of a flow full of tasks of one cpu, while something else waits.
struct Crowd<'f> {
    flow: &'f Flow,
    running: Vec<ObjectRef<u64>>,
    count: u64,
}

impl<'f> Crowd<'f> {
    fn new(flow: &'f Flow) -> Self {
        let mut crowd = Self { flow, running: Vec::new(), count: 0 };
        crowd.fill();
        crowd
    }

    /// Twenty of them, of different lengths, so that they never end all at the same time.
    fn fill(&mut self) {
        self.running.retain(|one| !one.is_ready());
        while self.running.len() < 20 {
            self.count += 1;
            self.running.push(nap::remote(self.flow, 9 + self.count % 7).unwrap());
        }
    }

    /// Goes on until `done`; how many have come in the meantime.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut() -> bool) -> u64 {
        let (since, before) = (Instant::now(), self.count);
        while !done() {
            assert!(since.elapsed() < LONG, "it starves behind {} others", self.count - before);
            self.fill();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.count - before
    }
}

fn lab(cpus: f64) -> Flow {
    let lab = Resources::cpus(cpus).with("board", 1.0);
    Flow::builder().workers("lab", 1, lab).memory(64 << 20).build().unwrap()
}

pub(crate) fn a_big_task_beside_many_small_ones() {
    let flow = lab(2.0);
    let mut crowd = Crowd::new(&flow);
    for big in [nap::options().cpus(2.0).priority(5), nap::options().cpus(2.0)] {
        let big = big.remote(&flow, 1u64).unwrap();
        assert!(crowd.until(|| big.is_ready()) > 10, "small ones go on for a while");
    }
    let several: Vec<_> = [2.0, 1.5, 2.0, 1.75]
        .map(|cpus| nap::options().cpus(cpus).remote(&flow, 1u64).unwrap())
        .into();
    crowd.until(|| several.iter().all(ObjectRef::is_ready));
    drop(crowd);
    all_free(&flow);
}

pub(crate) fn a_label_and_cpus() {
    let flow = lab(2.0);
    let mut crowd = Crowd::new(&flow);
    // The label is free most of the time, the cpus never are.
    let board = || nap::options().resource("board", 1.0).remote(&flow, 5u64).unwrap();
    let mut held = vec![board()];
    let both = nap::options().cpus(2.0).resource("board", 1.0).remote(&flow, 1u64).unwrap();
    crowd.until(|| {
        held.retain(|one: &ObjectRef<u64>| !one.is_ready());
        held.extend((held.len() < 3).then(board));
        both.is_ready()
    });
}

pub(crate) fn a_placement_group_beside_many_small_ones() {
    let flow = Flow::builder().workers("cpu", 2, Resources::cpus(2.0)).memory(64 << 20);
    let flow = flow.build().unwrap();
    let mut crowd = Crowd::new(&flow);
    let bundle = Resources::cpus(2.0);
    let group = flow.placement_group(&[bundle.clone(), bundle], Packing::StrictSpread).unwrap();
    crowd.until(|| group.is_ready());
    // Inside of it the same holds.
    let small: Vec<_> = (0..2)
        .map(|_| nap::options().placed(&group, Some(0)).remote(&flow, 300u64).unwrap())
        .collect();
    let big = nap::options().cpus(2.0).placed(&group, Some(0)).remote(&flow, 1u64).unwrap();
    let mut more = Vec::new();
    crowd.until(|| {
        more.retain(|one: &ObjectRef<u64>| !one.is_ready());
        if more.len() < 6 {
            let millis = 9 + more.len() as u64;
            more.push(nap::options().placed(&group, Some(0)).remote(&flow, millis).unwrap());
        }
        big.is_ready()
    });
    flow.get_all(&small).unwrap();
}

#[derive(Default)]
pub(crate) struct Holder;

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Holder {
    pub fn new() -> Self {
        Self
    }

    pub fn hello(&self) -> u32 {
        7
    }
}

pub(crate) fn an_actor_that_needs_all_cpus() {
    let flow = lab(2.0);
    let mut crowd = Crowd::new(&flow);
    let options = ActorOptions::new().cpus(2.0);
    let holder = HolderActor::new_with(&flow, &options).unwrap();
    let hello = holder.hello().remote().unwrap();
    crowd.until(|| hello.is_ready());
    assert_eq!(hello.get(), Ok(7));
    // Who waits now is told why.
    let waits = nap::remote(&flow, 1u64).unwrap();
    let why = flow.pending(&waits).unwrap().to_string();
    assert!(why.contains("actor `Holder::new`") && why.contains("cpus 2"), "{why}");
    holder.raw().kill().unwrap();
    waits.get_timeout(LONG).unwrap();
}

pub(crate) fn short_tasks_that_stand_behind_each_other() {
    let flow = lab(2.0);
    nothing::remote_blocking(&flow).unwrap();
    let big = nap::options().cpus(2.0);
    let mut crowd: Vec<ObjectRef<()>> = (0..500).map(|_| nothing::remote(&flow).unwrap()).collect();
    let big = big.remote(&flow, 1u64).unwrap();
    let since = Instant::now();
    while !big.is_ready() {
        assert!(since.elapsed() < LONG, "it starves");
        crowd.retain(|one| !one.is_ready());
        while crowd.len() < 500 {
            crowd.push(nothing::remote(&flow).unwrap());
        }
    }
    flow.get_all(&crowd).unwrap();
}

/// Holds the board, and calls what needs a cpu, for a while.
#[node(cpus = 1, resources(board = 1))]
fn calls_for(millis: u64) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let until = Instant::now() + Duration::from_millis(millis);
    let mut calls = 0;
    while Instant::now() < until {
        nap::remote_blocking(&flow, 5u64)?;
        calls += 1;
    }
    Ok(calls)
}

/// What is kept for one that waits is not kept from those that the holder of the rest waits for.
pub(crate) fn the_calls_of_a_holder_go_on() {
    let flow = lab(2.0);
    let holder = calls_for::remote(&flow, 1500u64).unwrap();
    eventually("the holder", || matches!(flow.pending(&holder), Ok(Pending::Running { .. })));
    let big = nap::options().cpus(2.0).resource("board", 1.0).priority(9);
    let big = big.remote(&flow, 1u64).unwrap();
    let mut crowd = Crowd::new(&flow);
    crowd.until(|| holder.is_ready());
    assert!(holder.get().unwrap() > 5, "it has not stood still");
    crowd.until(|| big.is_ready());
}

/// Holds the board, and waits for a call of somebody else.
#[node(cpus = 1, resources(board = 1))]
fn waits_for(one: Vec<ObjectRef<u64>>) -> Result<u64, Error> {
    std::thread::sleep(Duration::from_millis(700)); // something is kept for the big one by now
    one[0].get()
}

/// Nor from what the holder of the rest waits for, whoever has called that.
pub(crate) fn what_a_holder_waits_for_goes_on() {
    let flow = lab(2.0);
    let slow = nap::remote(&flow, 1200u64).unwrap();
    let needed = after::remote(&flow, &slow).unwrap();
    let holder = waits_for::remote(&flow, vec![needed]).unwrap();
    eventually("the holder", || matches!(flow.pending(&holder), Ok(Pending::Running { .. })));
    let big = nap::options().cpus(2.0).resource("board", 1.0).priority(9);
    let big = big.remote(&flow, 1u64).unwrap();
    let mut crowd = Crowd::new(&flow);
    crowd.until(|| holder.is_ready());
    assert_eq!(holder.get(), Ok(1200));
    crowd.until(|| big.is_ready());
}
