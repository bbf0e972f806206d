//! Cancelling tasks: queued, running, complete; by force; with all that they called.

use std::time::{Duration, Instant};

use mailring::flow::{
    Cancel, CancelReport, Cancelled, Cause, Error, Flow, Found, ObjectRef, Pending, actor,
    cancelled, node,
};
use testkit::flow::{
    Files, append, assert_soon, await_lines, await_number, cause, failed, fall, flow, lines,
    open_gate, pass_gate, pid, worker_pids,
};
use testkit::{eventually, is_alive, stat};

#[node]
fn note(path: &str) {
    append(path, "ran");
}

/// Sleeps until it is cancelled, and says that it was.
#[node]
fn hold(begun: &str, told: &str) -> Result<(), Cancelled> {
    append(begun, &std::process::id().to_string());
    let slept = mailring::flow::sleep(Duration::from_secs(50));
    append(told, if slept.is_err() { "cancelled" } else { "slept" });
    slept
}

pub(crate) fn queued_never_runs() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, ran) = (files.path("begun"), files.path("ran"));
    let running = hold::remote(&flow, &begun, files.path("told")).unwrap();
    await_lines(&begun, 1);
    let queued = note::remote(&flow, &ran).unwrap();
    let report = flow.cancel(&queued, Cancel::default()).unwrap();
    assert_eq!(report.found, Found::Queued);
    assert!(report.ended.is_empty() && !report.worker_ended, "{report}");
    assert!(report.to_string().contains("had not begun"), "{report}");
    let error = failed(queued.get());
    assert_eq!((&error.cause, error.attempt), (&Cause::Cancelled, 0), "{error}");
    assert!(error.to_string().contains("`note`"), "{error}");
    flow.cancel(&running, Cancel::default()).unwrap();
    note::remote_blocking(&flow, &ran).unwrap();
    assert_eq!(lines(&ran), ["ran"], "only the second one");
}

#[node]
fn watch_flag(begun: &str, saw: &str) -> u32 {
    append(begun, "begun");
    assert!(!cancelled());
    eventually("the flag", cancelled);
    append(saw, "saw");
    7
}

/// The flag reaches the body, and what it returns then does not count.
pub(crate) fn a_running_body_is_told() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, saw) = (files.path("begun"), files.path("saw"));
    let task = watch_flag::remote(&flow, &begun, &saw).unwrap();
    await_lines(&begun, 1);
    let report = flow.cancel(&task, Cancel::default()).unwrap();
    assert_eq!((report.found, report.worker_ended), (Found::Running, false));
    let result = task.get();
    assert!(result.as_ref().is_err_and(Error::is_cancelled), "{result:?}");
    assert_eq!(lines(&saw), ["saw"]);
    assert!(!cancelled(), "never in the driver");
    // The flag was that task's alone.
    assert!(!flag::remote_blocking(&flow).unwrap());
}

#[node]
fn flag() -> bool {
    cancelled()
}

pub(crate) fn a_sleep_ends_early() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, told) = (files.path("begun"), files.path("told"));
    let task = hold::remote(&flow, &begun, &told).unwrap();
    await_lines(&begun, 1);
    let since = Instant::now();
    flow.cancel(&task, Cancel::default()).unwrap();
    assert_eq!(cause(task.get()), Cause::Cancelled);
    assert_soon(since, "the sleep");
    assert_eq!(lines(&told), ["cancelled"]);
}

/// Blocks in the kernel, where no flag is seen.
#[node]
fn block(how: &str, begun: &str, woken: &str) {
    append(begun, &std::process::id().to_string());
    if how == "pause" {
        // SAFETY: passes nothing.
        unsafe { libc::pause() };
    } else {
        let (mut fds, mut byte) = ([0; 2], 0u8);
        // SAFETY: two live locals; nobody writes to the pipe, so only a signal ends the read.
        let read = unsafe {
            libc::pipe(fds.as_mut_ptr());
            libc::read(fds[0], (&raw mut byte).cast(), 1)
        };
        assert_eq!(read, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
    }
    append(woken, "woken");
}

pub(crate) fn a_blocking_call_is_interrupted() {
    let (flow, files) = (flow(1), Files::new());
    for how in ["pause", "read"] {
        let (begun, woken) = (files.path(how), files.path(&format!("{how} woken")));
        let task = block::remote(&flow, how, &begun, &woken).unwrap();
        let worker = await_number(&begun);
        eventually("it blocks", || stat(worker).is_some_and(|(state, _)| state == 'S'));
        std::thread::sleep(Duration::from_millis(50));
        let since = Instant::now();
        flow.cancel(&task, Cancel::default()).unwrap();
        assert_eq!(cause(task.get_timeout(Duration::from_secs(20))), Cause::Cancelled, "{how}");
        assert_soon(since, how);
        assert_eq!(lines(&woken), ["woken"]);
        assert!(is_alive(worker));
    }
}

pub(crate) fn what_is_complete_stays() {
    let flow = flow(1);
    let task = pid::remote(&flow).unwrap();
    let value = task.get().unwrap();
    for cancel in [Cancel::default(), Cancel::forced()] {
        let report = flow.cancel(&task, cancel).unwrap();
        assert_eq!((report.found, report.worker_ended), (Found::Finished, false));
        assert_eq!(task.get().unwrap(), value);
    }
    assert_eq!(pid::remote_blocking(&flow).unwrap(), value, "the same worker");
}

/// Does not care about flags.
#[node]
fn stubborn(begun: &str) {
    append(begun, &std::process::id().to_string());
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[node]
fn gated(begun: &str, gate: &str) -> i32 {
    append(begun, "begun");
    pass_gate(gate);
    std::process::id() as i32
}

pub(crate) fn force_replaces_the_worker() {
    let (flow, files) = (flow(2), Files::new());
    let (begun, other, gate) = (files.path("begun"), files.path("other"), files.path("gate"));
    let task = stubborn::options().on("cpu/0").remote(&flow, &begun).unwrap();
    let beside = gated::options().on("cpu/1").max_retries(0).remote(&flow, &other, &gate).unwrap();
    let worker = await_number(&begun);
    await_lines(&other, 1);
    let report = flow.cancel(&task, Cancel::forced()).unwrap();
    assert_eq!((report.found, report.worker_ended), (Found::Running, true));
    assert!(report.to_string().contains("worker was ended"), "{report}");
    assert_eq!(cause(task.get()), Cause::Cancelled);
    assert!(!is_alive(worker));
    assert_eq!(lines(&begun).len(), 1, "never tried again");
    let next = pid::options().on("cpu/0").remote_blocking(&flow).unwrap();
    assert_ne!(next, worker);
    open_gate(&gate);
    let known = worker_pids(&flow)[1].clone();
    assert!(known.contains(&beside.get().unwrap()));
}

#[node]
fn after(_before: (), path: &str) {
    append(path, "ran");
}

pub(crate) fn what_depends_on_it_fails() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, ran) = (files.path("begun"), files.path("ran"));
    let root = hold::remote(&flow, &begun, files.path("told")).unwrap();
    let next = after::remote(&flow, &root, &ran).unwrap();
    let last = after::remote(&flow, &next, &ran).unwrap();
    await_lines(&begun, 1);
    let report = flow.cancel(&root, Cancel::default()).unwrap();
    for below in [next, last] {
        let error = failed(below.get());
        assert_eq!((&error.cause, error.task), (&Cause::Cancelled, report.task), "{error}");
        assert_eq!(error.name, "hold");
        assert_eq!(error.below.as_ref().map(|(_, name)| name.as_str()), Some("after"));
        assert!(below.get().unwrap_err().is_cancelled());
    }
    assert!(lines(&ran).is_empty());
}

/// Calls two and waits for them.
#[node]
fn parent(begun: &str, told: &str) -> Result<(), Error> {
    let flow = Flow::current()?;
    let kids = [hold::remote(&flow, begun, told)?, hold::remote(&flow, begun, told)?];
    kids.iter().try_for_each(ObjectRef::get)
}

pub(crate) fn what_the_body_called_is_cancelled_too() {
    let (flow, files) = (flow(3), Files::new());
    let (begun, told) = (files.path("begun"), files.path("told"));
    let task = parent::remote(&flow, &begun, &told).unwrap();
    await_lines(&begun, 2);
    let since = Instant::now();
    assert_eq!(flow.cancel(&task, Cancel::default()).unwrap().found, Found::Running);
    assert_eq!(cause(task.get()), Cause::Cancelled);
    assert_soon(since, "the family");
    assert_eq!(await_lines(&told, 2), ["cancelled", "cancelled"]);
    eventually("all complete", || flow.stats().unwrap().incomplete == 0);
}

#[node]
fn canceller(victim: Vec<ObjectRef<()>>) -> Result<CancelReport, Error> {
    Flow::current()?.cancel(&victim[0], Cancel::default())
}

pub(crate) fn from_inside_another_body() {
    let (flow, files) = (flow(2), Files::new());
    let (begun, told) = (files.path("begun"), files.path("told"));
    let task = hold::remote(&flow, &begun, &told).unwrap();
    await_lines(&begun, 1);
    let report = canceller::remote_blocking(&flow, vec![task.clone()]).unwrap();
    assert_eq!(report.found, Found::Running);
    assert_eq!(cause(task.get()), Cause::Cancelled);
    assert_eq!(lines(&told), ["cancelled"]);
}

#[node]
fn waits_for(inside: Vec<ObjectRef<()>>, begun: &str, told: &str) -> Result<(), Error> {
    append(begun, "begun");
    let got = inside[0].get();
    append(told, if got.is_err() { "gave up" } else { "got it" });
    got
}

/// The body waits in `get` for the task of somebody else, which is not cancelled.
pub(crate) fn a_wait_for_a_ref_ends() {
    let (flow, files) = (flow(2), Files::new());
    let (begun, told) = (files.path("begun"), files.path("told"));
    let (waits, gave_up) = (files.path("waits"), files.path("gave up"));
    let other = hold::remote(&flow, &begun, &told).unwrap();
    let task = waits_for::remote(&flow, vec![other.clone()], &waits, &gave_up).unwrap();
    await_lines(&begun, 1);
    await_lines(&waits, 1);
    std::thread::sleep(Duration::from_millis(50));
    let since = Instant::now();
    flow.cancel(&task, Cancel::default()).unwrap();
    assert_soon(since, "the cancel");
    let result = task.get_timeout(Duration::from_secs(10));
    assert!(result.as_ref().is_err_and(Error::is_cancelled), "{result:?}");
    assert_soon(since, "the wait");
    assert_eq!(lines(&gave_up), ["gave up"]);
    assert!(lines(&told).is_empty() && !other.is_ready(), "the other goes on");
    flow.cancel(&other, Cancel::default()).unwrap();
}

#[node]
fn fails_when_told(runs: &str) -> Result<(), String> {
    append(runs, "run");
    let _ = mailring::flow::sleep(Duration::from_secs(50));
    Err("told to stop".to_owned())
}

#[node]
fn dies_when_told(runs: &str) {
    append(runs, "run");
    let _ = mailring::flow::sleep(Duration::from_secs(50));
    fall(libc::SIGKILL);
}

pub(crate) fn never_tried_again() {
    let (flow, files) = (flow(1), Files::new());
    let (failing, dying) = (files.path("failing"), files.path("dying"));
    let one = fails_when_told::options().retry_on_any_error().max_retries(5);
    let one = one.remote(&flow, &failing).unwrap();
    await_lines(&failing, 1);
    flow.cancel(&one, Cancel::default()).unwrap();
    assert_eq!(cause(one.get()), Cause::Cancelled);
    let other = dies_when_told::options().retry_forever().remote(&flow, &dying).unwrap();
    await_lines(&dying, 1);
    flow.cancel(&other, Cancel::default()).unwrap();
    assert_eq!(cause(other.get()), Cause::Cancelled);
    note::remote_blocking(&flow, files.path("after")).unwrap();
    assert_eq!((lines(&failing).len(), lines(&dying).len()), (1, 1));
}

pub(crate) fn a_thousand_queued() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, ran) = (files.path("begun"), files.path("ran"));
    let running = hold::remote(&flow, &begun, files.path("told")).unwrap();
    await_lines(&begun, 1);
    let queued: Vec<_> = (0..1000).map(|_| note::remote(&flow, &ran).unwrap()).collect();
    let since = Instant::now();
    for task in &queued {
        assert_eq!(flow.cancel(task, Cancel::default()).unwrap().found, Found::Queued);
    }
    assert_soon(since, "a thousand cancels");
    for task in &queued {
        assert_eq!(cause(task.get()), Cause::Cancelled);
    }
    assert_eq!(flow.stats().unwrap().incomplete, 1);
    flow.cancel(&running, Cancel::default()).unwrap();
    note::remote_blocking(&flow, &ran).unwrap();
    assert_eq!(lines(&ran).len(), 1);
}

#[node]
fn nap(millis: u64) {
    let _ = mailring::flow::sleep(Duration::from_millis(millis));
}

/// Two hundred on two cpus, by force, in the order in which they were called: what waits goes
/// first, so that none of them begins because another was killed.
pub(crate) fn many_at_once_in_any_order() {
    let flow = flow(2);
    for reverse in [false, true] {
        let mut all: Vec<_> = (0..200).map(|_| nap::remote(&flow, 50_000u64).unwrap()).collect();
        eventually("two that run", || {
            let tasks = flow.tasks().unwrap();
            tasks.iter().filter(|t| matches!(t.pending, Pending::Running { .. })).count() == 2
        });
        if reverse {
            all.reverse();
        }
        let since = Instant::now();
        let reports = flow.cancel_many(&all, Cancel::forced()).unwrap();
        assert_soon(since, "two hundred cancels");
        assert_eq!(reports.len(), 200);
        assert!(reports.is_sorted_by_key(|report| report.task) != reverse, "as they were given");
        let count = |f: &dyn Fn(&CancelReport) -> bool| reports.iter().filter(|r| f(r)).count();
        assert_eq!(count(&|report| report.found == Found::Running), 2);
        assert!(count(&|report| report.worker_ended) <= 2);
        assert!(all.iter().all(|task| task.get().is_err_and(|error| error.is_cancelled())));
    }
    nap::remote_blocking(&flow, 0u64).unwrap();
}

#[node]
fn calls_two() -> Result<(), Error> {
    let flow = Flow::current()?;
    let both = [nap::remote(&flow, 50_000u64)?, nap::remote(&flow, 50_000u64)?];
    flow.get_all(&both).map(drop)
}

#[node]
fn cancels_within(victims: Vec<ObjectRef<()>>) -> Result<Vec<CancelReport>, Error> {
    Flow::current()?.cancel_many(&victims, Cancel::default())
}

pub(crate) fn all_of_a_flow() {
    let flow = flow(2);
    assert_eq!(flow.cancel_all(Cancel::default()), Ok(Vec::new()));
    let listener = ListenerActor::new(&flow).unwrap();
    let heard = listener.hold().remote().unwrap();
    let queued = listener.hold().remote().unwrap();
    let parent = calls_two::remote(&flow).unwrap();
    let rest: Vec<_> = (0..50).map(|_| nap::remote(&flow, 50_000u64).unwrap()).collect();
    let below = after::remote(&flow, &rest[0], "nowhere").unwrap();
    let made = || matches!(flow.pending(&heard), Ok(Pending::Running { .. }));
    eventually("the children", || made() && flow.stats().unwrap().incomplete == 56);
    let since = Instant::now();
    let reports = flow.cancel_all(Cancel::forced()).unwrap();
    assert_soon(since, "all of them");
    assert_eq!(reports.len(), 56, "{reports:?}");
    assert_eq!(flow.stats().unwrap().incomplete, 0);
    for error in [parent.get().unwrap_err(), below.get().unwrap_err()] {
        assert!(error.is_cancelled(), "{error}");
    }
    assert!(rest.iter().all(|task| task.get().is_err_and(|error| error.is_cancelled())));
    assert_eq!((cause(heard.get()), cause(queued.get())), (Cause::Cancelled, Cause::Cancelled));
    listener.note().remote_blocking().expect("the actor lives on");
}

pub(crate) fn many_from_a_body() {
    let flow = flow(3);
    let victims: Vec<_> = (0..50).map(|_| nap::remote(&flow, 50_000u64).unwrap()).collect();
    let urgent = cancels_within::options().cpus(0.0);
    let reports = urgent.remote(&flow, victims).unwrap();
    let reports = reports.get_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(reports.len(), 50);
    assert!(reports.iter().filter(|report| report.found == Found::Running).count() <= 3);
}

/// Whose ref nobody has any more.
pub(crate) fn by_number() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, told) = (files.path("begun"), files.path("told"));
    drop(hold::remote(&flow, &begun, &told).unwrap());
    let next = note::remote(&flow, files.path("ran")).unwrap();
    await_lines(&begun, 1);
    let numbers: Vec<u64> = flow.tasks().unwrap().iter().map(|task| task.task).collect();
    let queued = flow.cancel_task(numbers[1], Cancel::default()).unwrap();
    assert_eq!((queued.task, queued.found), (numbers[1], Found::Queued));
    assert_eq!(cause(next.get()), Cause::Cancelled);
    let running = flow.cancel_task(numbers[0], Cancel::default()).unwrap();
    assert_eq!((running.task, running.found), (numbers[0], Found::Running));
    await_lines(&told, 1);
    eventually("its end", || flow.stats().unwrap().incomplete == 0);
    let over = flow.cancel_task(numbers[0], Cancel::forced()).unwrap();
    assert_eq!((over.found, over.worker_ended), (Found::Finished, false));
    for number in [0, 3, u64::MAX] {
        let error = flow.cancel_task(number, Cancel::default()).unwrap_err().to_string();
        assert!(error.contains(&format!("number {number}")) && error.contains("1 to 2"), "{error}");
    }
}

#[node]
fn busy(begun: &str, for_: u64) -> i32 {
    let own = std::process::id() as i32;
    append(begun, &own.to_string());
    let until = Instant::now() + Duration::from_millis(for_);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    own
}

/// When a forced cancel returns, what it killed is gone, also if the body ended just then.
pub(crate) fn force_returns_when_all_are_gone() {
    let (flow, files) = (flow(2), Files::new());
    for round in 0..40 {
        let begun = files.path(&format!("begun {round}"));
        let task = busy::remote(&flow, &begun, 8 + round / 4).unwrap();
        let own = await_number(&begun);
        let report = flow.cancel(&task, Cancel::forced()).unwrap();
        assert!(!report.worker_ended || !is_alive(own), "round {round}: {report}");
    }
}

#[derive(Default)]
pub(crate) struct Listener(Vec<ObjectRef<()>>);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Listener {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn hold(&mut self) -> Result<(), Cancelled> {
        mailring::flow::sleep(Duration::from_secs(50))
    }

    pub fn keep(&mut self, refs: Vec<ObjectRef<()>>) {
        self.0.extend(refs);
    }

    pub fn note(&self) -> Vec<ObjectRef<()>> {
        self.0.clone()
    }
}

/// One of its two calls is held by the actor as well.
#[node]
fn shares_one(keeper: ListenerActor, begun: &str, told: &str) -> Result<(), Error> {
    let flow = Flow::current()?;
    let shared = hold::remote(&flow, begun, told)?;
    let own = hold::remote(&flow, begun, told)?;
    keeper.keep(vec![shared.clone()]).remote_blocking()?;
    shared.get().and(own.get())
}

pub(crate) fn what_others_hold_is_not_cancelled_with_its_caller() {
    let (flow, files) = (flow(3), Files::new());
    let keeper = ListenerActor::new(&flow).unwrap();
    let (begun, told) = (files.path("begun"), files.path("told"));
    let task = shares_one::remote(&flow, &keeper, &begun, &told).unwrap();
    await_lines(&begun, 2);
    let mut kept = Vec::new();
    eventually("the actor to hold one", || {
        kept = keeper.note().remote_blocking().unwrap();
        kept.len() == 1
    });
    flow.cancel(&task, Cancel::default()).unwrap();
    assert_eq!(cause(task.get()), Cause::Cancelled);
    await_lines(&told, 1);
    let result = kept[0].get_timeout(Duration::from_millis(100));
    assert!(matches!(result, Err(Error::Timeout(..))), "it goes on: {result:?}");
    flow.cancel(&kept[0], Cancel::default()).unwrap();
    assert_eq!(cause(kept[0].get()), Cause::Cancelled);
}
