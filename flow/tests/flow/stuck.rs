//! Which tasks `wait` calls stuck, each condition by itself, and what it does about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::wait::{all_of, ids, tracked, value, value_after};
use mailring::flow::{
    Error, Flow, ObjectRef, Pending, Resources, TrackedRef, WaitOptions, node, wait,
};
use testkit::flow::{Gate, flow, hold};

/// Two workers of two cpus, of each of which one is in use: a task of two cpus has to wait, though
/// there are two free ones.
struct Split {
    flow: Flow,
    gate: Gate,
    held: Vec<ObjectRef<bool>>,
}

const PENDING: Duration = Duration::from_millis(40);

impl Split {
    fn new() -> Self {
        let builder = Flow::builder().workers("cpu", 2, Resources::cpus(2.0)).memory(64 << 20);
        let flow = builder.build().unwrap();
        let gate = Gate::new();
        let held = ["cpu/0", "cpu/1"].map(|worker| {
            hold::options().on(worker).remote(&flow, gate.path(), &worker[4..]).unwrap()
        });
        gate.await_begun(2);
        Self { flow, gate, held: held.into() }
    }

    fn wide(&self, n: u64) -> ObjectRef<u64> {
        value::options().cpus(2.0).remote(&self.flow, n).unwrap()
    }

    /// A tracked task that can be submitted again, and the number of times that it was.
    fn again(&self) -> (TrackedRef<u64>, Arc<AtomicU32>) {
        self.again_with(self.wide(0))
    }

    fn again_with(&self, first: ObjectRef<u64>) -> (TrackedRef<u64>, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let (flow, counter) = (self.flow.clone(), Arc::clone(&count));
        let tracked = TrackedRef::new(first).label("wide").resubmit_with(move || {
            counter.fetch_add(1, SeqCst);
            value::options().cpus(2.0).remote(&flow, 1u64)
        });
        (tracked, count)
    }

    /// Whether a wait with these options has found the task to be stuck.
    fn is_stuck(&self, task: ObjectRef<u64>, options: &WaitOptions) -> bool {
        let (one, count) = self.again_with(task);
        let mut list = vec![one];
        let ready = wait(&self.flow, &mut list, options).unwrap();
        assert!(ready.is_empty());
        assert_eq!(list.len(), 1, "it stays among the pending");
        count.load(SeqCst) > 0
    }
}

fn retrying() -> WaitOptions {
    WaitOptions { pending_timeout: Some(PENDING), retry: true, ..WaitOptions::default() }
}

pub(crate) fn stuck_tasks_are_submitted_again() {
    let split = Split::new();
    let (one, count) = split.again();
    let old = one.reference.clone();
    let (id, since) = (old.id(), one.submitted_at);
    let mut list = vec![one];
    let ready = wait(&split.flow, &mut list, &retrying()).unwrap();
    assert!(ready.is_empty(), "it returns though there is no time-out");
    // Replaced in place, once: max_retries is 1.
    assert_eq!(count.load(SeqCst), 1);
    let one = &list[0];
    assert_eq!((one.retries, one.label.as_str()), (1, "wide"));
    assert_ne!(one.reference.id(), id);
    assert!(one.submitted_at > since);
    assert!(old.get().is_err_and(|error| error.is_cancelled()));
    split.gate.open();
    let ready = wait(&split.flow, &mut list, &retrying()).unwrap();
    assert_eq!(ready[0].reference.get(), Ok(1));
    assert_eq!(split.flow.get_all(&split.held), Ok(vec![true; 2]));
}

pub(crate) fn as_often_as_max_retries_says() {
    let split = Split::new();
    let (mut one, count) = split.again();
    one.retries = 1; // from an earlier wait
    let mut list = vec![one];
    let options = WaitOptions { max_retries: 3, ..retrying() };
    wait(&split.flow, &mut list, &options).unwrap();
    assert_eq!((count.load(SeqCst), list[0].retries), (2, 3));
    wait(&split.flow, &mut list, &options).unwrap();
    assert_eq!((count.load(SeqCst), list[0].retries), (2, 3), "used up");
    assert!(!list[0].reference.is_ready(), "and not cancelled");
    let (one, count) = split.again();
    let none = WaitOptions { max_retries: 0, ..retrying() };
    wait(&split.flow, &mut vec![one], &none).unwrap();
    assert_eq!(count.load(SeqCst), 0);
}

pub(crate) fn stuck_tasks_are_cancelled_if_asked_for() {
    let split = Split::new();
    let once = |cancel_on_stuck, retry| {
        let mut list = vec![TrackedRef::new(split.wide(0))];
        let options = WaitOptions { cancel_on_stuck, retry, ..retrying() };
        let ready = wait(&split.flow, &mut list, &options).unwrap();
        let there: Vec<_> = ready.into_iter().chain(list).collect();
        assert_eq!(there.len(), 1);
        there[0].reference.wait_timeout(Duration::from_millis(50))
            && there[0].reference.get().is_err_and(|error| error.is_cancelled())
    };
    assert!(once(true, false) && once(true, true));
    assert!(!once(false, false) && !once(false, true));
}

pub(crate) fn an_error_of_the_resubmission() {
    let split = Split::new();
    let refuse = || Err(Error::Invalid("not again".to_owned()));
    let mut list = vec![TrackedRef::new(split.wide(0)).resubmit_with(refuse)];
    let result = wait(&split.flow, &mut list, &retrying()).map(|_| ());
    assert!(matches!(&result, Err(Error::Invalid(why)) if why == "not again"), "{result:?}");
    assert_eq!((list.len(), list[0].retries), (1, 0));
}

pub(crate) fn no_pending_timeout_no_stuck_task() {
    let split = Split::new();
    let options = WaitOptions { pending_timeout: None, timeout: Some(4 * PENDING), ..retrying() };
    assert!(!split.is_stuck(split.wide(0), &options));
    // Nor one whose caller does not want it.
    assert!(!split.is_stuck(split.wide(0), &WaitOptions { retry: false, ..retrying() }));
    assert!(split.is_stuck(split.wide(0), &retrying()), "the same is stuck otherwise");
}

pub(crate) fn a_task_is_not_stuck_before_its_time() {
    let split = Split::new();
    let (old, count) = split.again();
    std::thread::sleep(2 * PENDING);
    let mut list = vec![old];
    // The age counts from the submission, but a wait gives everybody its time as well.
    let short = WaitOptions { timeout: Some(PENDING / 8), ..retrying() };
    wait(&split.flow, &mut list, &short).unwrap();
    assert_eq!(count.load(SeqCst), 0);
    list[0].submitted_at = Instant::now() + Duration::from_secs(60);
    wait(&split.flow, &mut list, &retrying()).unwrap();
    assert_eq!(count.load(SeqCst), 0, "too young");
}

pub(crate) fn what_runs_or_waits_for_others_is_not_stuck() {
    let split = Split::new();
    let below = value_after::options().cpus(2.0).remote(&split.flow, &split.held[0], 1u64).unwrap();
    assert!(!split.is_stuck(below, &retrying()), "it waits for a value");
    let (flow, gate) = (&split.flow, &split.gate);
    let running = running_value::remote(flow, gate.path(), "third").unwrap();
    gate.await_begun(3);
    assert!(matches!(flow.pending(&running), Ok(Pending::Running { .. })));
    assert!(!split.is_stuck(running, &retrying()), "it runs");
    // What is free does not matter for that.
    assert!(
        !split.is_stuck(running_value::remote(flow, gate.path(), "fourth").unwrap(), &retrying())
    );
}

#[node]
fn running_value(gate: &str, who: &str) -> u64 {
    u64::from(hold(gate, who))
}

pub(crate) fn without_room_it_is_not_stuck() {
    let split = Split::new();
    // One more in use: all workers together have one free, and two are needed.
    let third =
        hold::options().on("cpu/0").remote(&split.flow, split.gate.path(), "third").unwrap();
    split.gate.await_begun(3);
    let any = WaitOptions { min_free_fraction: 0.0, ..retrying() };
    assert!(!split.is_stuck(split.wide(0), &any), "there is good reason to wait");
    split.gate.open_for("third");
    third.get().unwrap();
    assert!(split.is_stuck(split.wide(0), &any));
}

pub(crate) fn a_busy_flow_is_not_stuck() {
    let split = Split::new(); // two of four are free: 0.5
    for (fraction, stuck) in [(0.5, true), (0.51, false), (1.0, false), (0.0, true), (-1.0, true)] {
        let options = WaitOptions { min_free_fraction: fraction, ..retrying() };
        assert_eq!(split.is_stuck(split.wide(0), &options), stuck, "{fraction}");
    }
}

pub(crate) fn what_no_worker_has_is_not_stuck() {
    let split = Split::new();
    let never = value::options().resource("board", 1.0).wait_infeasible();
    let never = never.remote(&split.flow, 0u64).unwrap();
    let any = WaitOptions { min_free_fraction: 0.0, ..retrying() };
    assert!(!split.is_stuck(never, &any));
}

pub(crate) fn others_that_want_the_same() {
    let split = Split::new();
    let absent = WaitOptions { require_demand_absent: true, ..retrying() };
    {
        let _other = split.wide(7);
        let (one, count) = split.again();
        let mut list = vec![one];
        wait(&split.flow, &mut list, &absent).unwrap();
        assert_eq!(count.load(SeqCst), 0, "another one waits for the same");
        for left in [list[0].reference.clone(), _other] {
            split.flow.cancel(&left, Default::default()).unwrap();
        }
    }
    assert!(split.is_stuck(split.wide(0), &absent), "it waits alone");
}

pub(crate) fn progress_is_waited_for() {
    let flow = flow(2);
    let gate = Gate::new();
    let names: Vec<String> = (0..4).map(|n| n.to_string()).collect();
    let refs: Vec<_> = names
        .iter()
        .map(|who| hold::options().cpus(0.5).remote(&flow, gate.path(), who).unwrap())
        .collect();
    gate.await_begun(4);
    let mut list: Vec<_> = refs.iter().map(|one| TrackedRef::new(one.clone())).collect();
    let pending = Duration::from_millis(400);
    // One opens each 100 ms: together longer than the time without progress.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for who in &names {
                std::thread::sleep(Duration::from_millis(150));
                gate.open_for(who);
            }
        });
        let options = WaitOptions { pending_timeout: Some(pending), ..all_of(4) };
        assert_eq!(wait(&flow, &mut list, &options).unwrap().len(), 4);
    });
}

pub(crate) fn without_progress_it_returns() {
    let flow = flow(2);
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    let refs =
        [value::remote(&flow, 1u64).unwrap(), value_after::remote(&flow, open, 2u64).unwrap()];
    assert!(refs[0].wait_timeout(Duration::from_secs(10)));
    let mut list = tracked(&refs);
    let options = WaitOptions { pending_timeout: Some(PENDING), timeout: None, ..all_of(2) };
    let start = Instant::now();
    let ready = wait(&flow, &mut list, &options).unwrap();
    assert!(start.elapsed() >= PENDING && start.elapsed() < Duration::from_secs(10));
    assert_eq!((ids(&ready), ids(&list)), (vec![refs[0].id()], vec![refs[1].id()]));
}
