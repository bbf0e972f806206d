//! Actors: state, the order of calls, deaths, resources, handles, waits.

#![allow(unreachable_pub, reason = "the functions of an actor are public")]

use std::time::{Duration, Instant};

use mailring::flow::{
    ActorOptions, Cancel, Cause, Error, Flow, Found, ObjectRef, Pending, Resources, actor, node,
};
use testkit::flow::{
    Files, SOON, append, assert_soon, await_lines, cause, failed, fall, flow, lines, open_gate,
    pass_gate, pid,
};
use testkit::{eventually, is_alive};

/// Keeps all numbers that it is given.
pub struct Log {
    all: Vec<u64>,
}

#[actor]
impl Log {
    pub fn new() -> Self {
        Self { all: Vec::new() }
    }

    pub fn broken(why: &str) -> Result<Self, String> {
        Err(format!("cannot be made: {why}"))
    }

    pub fn traced(path: &str, first: u64) -> Self {
        append(path, "made");
        Self { all: vec![first] }
    }

    /// How many there are with this one.
    pub fn add(&mut self, number: u64) -> u64 {
        self.all.push(number);
        self.all.len() as u64
    }

    pub fn all(&self) -> Vec<u64> {
        self.all.clone()
    }

    pub fn pid(&self) -> i32 {
        std::process::id() as i32
    }

    pub fn fail(&mut self, number: u64) -> Result<(), String> {
        self.all.push(number);
        Err(format!("not {number}"))
    }

    pub fn panics(&mut self, number: u64) {
        self.all.push(number);
        panic!("not {number}");
    }

    pub fn die(&mut self) {
        fall(libc::SIGKILL);
    }

    pub fn hold(&mut self, begun: &str, gate: &str) -> u64 {
        append(begun, "begun");
        pass_gate(gate);
        self.all.len() as u64
    }

    pub fn sleep(&self, begun: &str) {
        append(begun, "begun");
        let _ = mailring::flow::sleep(Duration::from_secs(50));
    }

    pub fn call(&mut self, other: LogActor, number: u64) -> Result<u64, Error> {
        other.add(number).remote_blocking()
    }
}

pub(crate) fn state_survives_errors() {
    let flow = flow(2);
    let log = LogActor::new(&flow).unwrap();
    assert_eq!(log.add(1u64).remote_blocking().unwrap(), 1);
    let error = failed(log.fail(2u64).remote_blocking());
    assert!(matches!(&error.cause, Cause::App(app) if app.message == "not 2"), "{error}");
    let error = failed(log.panics(3u64).remote_blocking());
    assert!(matches!(&error.cause, Cause::Panicked { message, .. } if message == "not 3"));
    assert_eq!(error.name, "Log::panics");
    assert_eq!(log.add(4u64).remote_blocking().unwrap(), 4);
    assert_eq!(log.all().remote_blocking().unwrap(), [1, 2, 3, 4]);
    let info = log.raw().info().unwrap();
    assert_eq!((info.alive, info.restarts), (true, 0));
    let pid = log.pid().remote_blocking().unwrap();
    eventually("its number", || log.raw().info().unwrap().pid == Some(pid));
    assert!(format!("{log:?}").contains("Log"));
}

pub(crate) fn ten_thousand_calls_in_order() {
    let flow = flow(1);
    let log = LogActor::new(&flow).unwrap();
    let calls: Vec<_> = (0..10_000u64).map(|n| log.add(n).remote().unwrap()).collect();
    assert_eq!(flow.get_all(&calls).unwrap(), (1..=10_000).collect::<Vec<u64>>());
    assert_eq!(log.all().remote_blocking().unwrap(), (0..10_000).collect::<Vec<u64>>());
}

#[node]
fn add_some(log: LogActor, first: u64, count: u64) -> Result<(), Error> {
    (first..first + count).try_for_each(|n| log.add(n).remote().map(drop))
}

pub(crate) fn in_order_for_each_caller() {
    let flow = flow(2);
    let log = LogActor::new(&flow).unwrap();
    let bodies: Vec<_> =
        [3000u64, 4000].map(|first| add_some::remote(&flow, &log, first, 500u64).unwrap()).into();
    std::thread::scope(|scope| {
        for first in [1000u64, 2000] {
            let log = &log;
            scope.spawn(move || {
                (first..first + 500).for_each(|n| drop(log.add(n).remote().unwrap()))
            });
        }
    });
    flow.get_all(&bodies).unwrap();
    eventually("all calls are over", || flow.stats().unwrap().incomplete == 0);
    let all = log.all().remote_blocking().unwrap();
    for first in [1000u64, 2000, 3000, 4000] {
        let one: Vec<u64> = all.iter().copied().filter(|n| n / 1000 == first / 1000).collect();
        assert_eq!(one, (first..first + 500).collect::<Vec<u64>>());
    }
}

#[node]
fn late(value: u64, gate: &str) -> u64 {
    pass_gate(gate);
    value
}

#[node]
fn never() -> Result<u64, String> {
    Err("never".to_owned())
}

pub(crate) fn an_unready_argument_holds_back_its_caller_only() {
    let (flow, files) = (flow(2), Files::new());
    let gate = files.path("gate");
    let log = LogActor::new(&flow).unwrap();
    let slow = late::remote(&flow, 1u64, &gate).unwrap();
    let first = log.add(&slow).remote().unwrap();
    let second = log.add(2u64).remote().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(log.add(3u64).remote_blocking().unwrap(), 1));
    });
    assert!(!second.wait_timeout(Duration::from_millis(100)), "behind the first");
    open_gate(&gate);
    assert_eq!((first.get().unwrap(), second.get().unwrap()), (2, 3));
    assert_eq!(log.all().remote_blocking().unwrap(), [3, 1, 2]);
}

pub(crate) fn a_failed_argument_has_had_its_turn() {
    let (flow, files) = (flow(1), Files::new());
    let gate = files.path("gate");
    let log = LogActor::new(&flow).unwrap();
    // Failed later, and failed before the call.
    let slow = late::options().setup(&never::NODE, ()).remote(&flow, 1u64, &gate).unwrap();
    for _ in 0..2 {
        let bad = log.add(&slow).remote().unwrap();
        let next = log.add(2u64).remote().unwrap();
        let error = failed(bad.get());
        assert_eq!(error.name, "late");
        assert_eq!(error.below.map(|(_, name)| name).as_deref(), Some("Log::add"));
        next.get().unwrap();
    }
    assert_eq!(log.all().remote_blocking().unwrap(), [2, 2]);
}

#[track_caller]
fn died<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let Cause::ActorDied(why) = cause(result) else { panic!("another cause") };
    assert!(why.contains(words), "{why}");
}

pub(crate) fn killing() {
    let (flow, files) = (flow(2), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let log = LogActor::new(&flow).unwrap();
    let pid = log.pid().remote_blocking().unwrap();
    let running = log.hold(&begun, &gate).remote().unwrap();
    await_lines(&begun, 1);
    let slow = late::remote(&flow, 1u64, &gate).unwrap();
    let queued: Vec<_> = (0..50u64).map(|n| log.add(n).remote().unwrap()).collect();
    let unready = log.add(&slow).remote().unwrap();
    let since = Instant::now();
    log.raw().kill().unwrap();
    died(running.get(), "killed");
    for call in queued.iter().chain([&unready]) {
        died(call.get_timeout(Duration::from_secs(10)), "killed");
    }
    died(log.add(1u64).remote_blocking(), "killed");
    assert_soon(since, "the end");
    log.raw().kill().unwrap(); // no more than once
    let info = log.raw().info().unwrap();
    assert_eq!((info.alive, info.pid), (false, None));
    eventually("its process is gone", || !is_alive(pid));
    open_gate(&gate);
    assert_eq!(slow.get().unwrap(), 1);
}

pub(crate) fn a_constructor_that_fails() {
    let flow = flow(1);
    let log = LogActor::broken(&flow, "no disk").unwrap();
    let first = log.add(1u64).remote().unwrap();
    let second = log.add(2u64).remote().unwrap();
    died(first.get(), "cannot be made: no disk");
    died(second.get(), "no disk");
    died(log.all().remote_blocking(), "no disk");
    assert!(!log.raw().info().unwrap().alive);
    // One of its arguments fails: the same.
    let bad = never::remote(&flow).unwrap();
    let log = LogActor::traced(&flow, "unused", &bad).unwrap();
    died(log.add(1u64).remote_blocking(), "never");
    // The worker is free for others.
    assert_eq!(LogActor::new(&flow).unwrap().add(1u64).remote_blocking().unwrap(), 1);
}

pub(crate) fn its_process_dies() {
    let flow = flow(1);
    let log = LogActor::new(&flow).unwrap();
    log.add(1u64).remote_blocking().unwrap();
    let fatal = log.die().remote().unwrap();
    let behind = log.add(2u64).remote().unwrap();
    died(fatal.get(), "SIGKILL");
    died(behind.get(), "SIGKILL");
    died(log.all().remote_blocking(), "SIGKILL");
    let info = log.raw().info().unwrap();
    assert_eq!((info.alive, info.restarts), (false, 0));
}

pub(crate) fn made_again() {
    let (flow, files) = (flow(1), Files::new());
    let made = files.path("made");
    let options = ActorOptions::new().max_restarts(1);
    let log = LogActor::traced_with(&flow, &options, &made, 7u64).unwrap();
    assert_eq!(log.add(1u64).remote_blocking().unwrap(), 2);
    let before = log.pid().remote_blocking().unwrap();
    let fatal = log.die().remote().unwrap();
    let behind: Vec<_> = (10..40u64).map(|n| log.add(n).remote().unwrap()).collect();
    died(fatal.get(), "SIGKILL");
    assert_eq!(flow.get_all(&behind).unwrap(), (2..32).collect::<Vec<u64>>());
    let all: Vec<u64> = [7].into_iter().chain(10..40).collect();
    assert_eq!(log.all().remote_blocking().unwrap(), all, "fresh, and in order");
    assert_ne!(log.pid().remote_blocking().unwrap(), before);
    assert_eq!(log.raw().info().unwrap().restarts, 1);
    assert_eq!(await_lines(&made, 2).len(), 2);
    died(log.die().remote_blocking(), "SIGKILL");
    died(log.all().remote_blocking(), "SIGKILL");
    assert_eq!(await_lines(&made, 2).len(), 2, "not once more");
}

pub(crate) fn weightless_while_it_lives() {
    let flow = flow(1);
    let logs: Vec<LogActor> = (0..3).map(|_| LogActor::new(&flow).unwrap()).collect();
    for log in &logs {
        log.add(1u64).remote_blocking().unwrap();
    }
    let pids: Vec<i32> = logs.iter().map(|log| log.pid().remote_blocking().unwrap()).collect();
    assert!(
        !pids.contains(&pid::remote(&flow).unwrap().get_timeout(Duration::from_secs(10)).unwrap())
    );
    assert!(flow.workers().unwrap()[0].free.contains("cpus 1"));
}

pub(crate) fn held_for_life() {
    let lab = Resources::cpus(2.0).with("board", 1.0);
    let flow = Flow::builder().workers("lab", 1, lab).memory(64 << 20).build().unwrap();
    let all = ActorOptions::new().cpus(2.0).resource("board", 1.0);
    let log = LogActor::new_with(&flow, &all).unwrap();
    log.add(1u64).remote_blocking().unwrap();
    let free = || flow.workers().unwrap()[0].free.clone();
    assert!(!free().contains("board") && free().contains("cpus 0"), "{}", free());
    let task = pid::remote(&flow).unwrap();
    let other = LogActor::new_with(&flow, &ActorOptions::new().resource("board", 1.0)).unwrap();
    let call = other.add(1u64).remote().unwrap();
    assert!(!task.wait_timeout(Duration::from_millis(100)));
    assert!(!call.is_ready());
    let pending = flow.pending(&task).unwrap();
    assert!(matches!(pending, Pending::Resources { .. }), "{pending}");
    assert!(matches!(flow.pending(&call).unwrap(), Pending::Actor { .. }));
    log.raw().kill().unwrap();
    task.get_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(call.get_timeout(Duration::from_secs(10)).unwrap(), 1);
    other.raw().kill().unwrap();
    eventually("all is given back", || free().contains("cpus 2") && free().contains("board 1"));
    let absurd = ActorOptions::new().resource("board", 2.0);
    let refused = LogActor::new_with(&flow, &absurd).unwrap_err();
    assert!(matches!(&refused, Error::Infeasible { needs, .. } if needs.contains("board 2")));
}

#[node]
fn use_it(logs: Vec<LogActor>) -> Result<Vec<u64>, Error> {
    logs[0].add(1u64).remote_blocking()?;
    logs[0].clone().add(2u64).remote()?;
    logs[0].all().remote_blocking()
}

#[node]
fn make_one() -> Result<LogActor, Error> {
    let log = LogActor::new(&Flow::current()?)?;
    log.add(5u64).remote_blocking()?;
    Ok(log)
}

pub(crate) fn handles_travel() {
    let flow = flow(1);
    let log = LogActor::new(&flow).unwrap();
    assert_eq!(use_it::remote_blocking(&flow, vec![log.clone()]).unwrap(), [1, 2]);
    let made = make_one::remote_blocking(&flow).unwrap();
    assert_eq!(made.all().remote_blocking().unwrap(), [5]);
    assert_eq!(made.call(&log, 9u64).remote_blocking().unwrap(), 3, "one calls the other");
    assert_eq!(log.all().remote_blocking().unwrap(), [1, 2, 9]);
}

pub(crate) fn a_call_that_waits_for_itself() {
    let flow = flow(1);
    let log = LogActor::new(&flow).unwrap();
    let since = Instant::now();
    let call: ObjectRef<u64> = log.call(&log, 1u64).remote().unwrap();
    let Cause::App(app) = cause(call.get_timeout(Duration::from_secs(20))) else { panic!() };
    let Some(Error::Deadlock(why)) = app.downcast() else { panic!("{app}") };
    assert!(why.contains("Log::add") && why.contains("Log::call"), "{why}");
    assert_soon(since, "finding it");
    // It goes on. The call that could not be waited for ends with its caller, unless the worker took
    // it before.
    let all = log.all().remote_blocking().unwrap();
    assert!(all.is_empty() || all == [1], "{all:?}");
}

pub(crate) fn deadlines_and_timeouts() {
    let (flow, files) = (flow(1), Files::new());
    let (begun, gate) = (files.path("begun"), files.path("gate"));
    let log = LogActor::new(&flow).unwrap();
    let call = log.hold(&begun, &gate).tag("slow").remote().unwrap();
    let late = call.get_timeout(Duration::from_millis(50));
    assert!(
        matches!(&late, Err(Error::Timeout(what, _)) if what.contains("Log::hold")),
        "{late:?}"
    );
    open_gate(&gate);
    assert_eq!(call.get().unwrap(), 0);
    let limit = Duration::from_millis(200);
    let shut = files.path("shut");
    let call = log.hold(&begun, &shut).deadline(limit).display_name("stuck").remote().unwrap();
    let error = failed(call.get_timeout(Duration::from_secs(20)));
    assert_eq!((&error.cause, error.name.as_str()), (&Cause::Deadline(limit), "stuck"), "{error}");
    assert!(matches!(cause(log.all().remote_blocking()), Cause::ActorDied(_)));
    let none = log.hold(&begun, &shut).deadline(Duration::ZERO).remote();
    assert!(matches!(&none, Err(Error::Invalid(why)) if why.contains("deadline")), "{none:?}");
}

pub(crate) fn cancelled_calls() {
    let (flow, files) = (flow(1), Files::new());
    let begun = files.path("begun");
    let log = LogActor::new(&flow).unwrap();
    let running = log.sleep(&begun).remote().unwrap();
    await_lines(&begun, 1);
    let queued = log.add(1u64).remote().unwrap();
    let last = log.add(2u64).remote().unwrap();
    let forced = flow.cancel(&running, Cancel::forced());
    assert!(matches!(&forced, Err(Error::Invalid(why)) if why.contains("actor")), "{forced:?}");
    assert_eq!(flow.cancel(&queued, Cancel::default()).unwrap().found, Found::Queued);
    assert_eq!(flow.cancel(&running, Cancel::default()).unwrap().found, Found::Running);
    assert_eq!(cause(running.get()), Cause::Cancelled);
    assert_eq!(cause(queued.get()), Cause::Cancelled);
    assert_eq!(last.get().unwrap(), 1);
    assert_eq!(log.all().remote_blocking().unwrap(), [2], "the actor lives");
}

/// Dies while it is made, until it has been made so often.
pub(crate) struct Clumsy;

#[actor(max_restarts = 3)]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Clumsy {
    pub fn new(made: &str, from: usize) -> Self {
        append(made, "made");
        if lines(made).len() < from {
            fall(libc::SIGKILL);
        }
        Self
    }

    pub fn die(&self) {
        fall(libc::SIGKILL);
    }

    pub fn hello(&self) -> u32 {
        7
    }
}

/// The limit is the option's, or else the attribute's; deaths while it is made count.
pub(crate) fn restarts_are_counted_from_the_first_process() {
    let (flow, files) = (flow(2), Files::new());
    let mut count = 0;
    // What the option says, how often it has to be made, and how often it is.
    for (option, from, made, lives) in [
        (Some(5), 3, 3, true),
        (Some(5), 6, 6, true),
        (Some(5), 9, 6, false),
        (Some(0), 2, 1, false),
        (None, 3, 3, true),
        (None, 9, 4, false),
    ] {
        count += 1;
        let path = files.path(&count.to_string());
        let mut options = ActorOptions::new();
        if let Some(option) = option {
            options = options.max_restarts(option);
        }
        let clumsy = ClumsyActor::new_with(&flow, &options, &path, from as usize).unwrap();
        let hello = clumsy.hello().remote().unwrap().get_timeout(SOON);
        let what = format!("{option:?}, {from}: {hello:?}");
        assert_eq!(lines(&path).len(), made, "{what}");
        assert_eq!(hello.is_ok(), lives, "{what}");
        let info = clumsy.raw().info().unwrap();
        assert_eq!((info.alive, info.restarts), (lives, made as u32 - 1), "{what}");
        if option == Some(5) && from == 3 {
            // Two are used up: three are left.
            for death in 0..4 {
                let died = cause(clumsy.die().remote_blocking());
                assert!(matches!(died, Cause::ActorDied { .. }), "death {death}: {died:?}");
                assert_eq!(clumsy.hello().remote_blocking().is_ok(), death < 3, "death {death}");
            }
        }
    }
}
