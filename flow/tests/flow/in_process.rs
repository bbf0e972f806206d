//! Flows whose workers are threads of this process, for a debugger.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use mailring::flow::{
    self, Cancel, Cancelled, Cause, Error, Flow, Found, ObjectRef, Pending, Resources, Shared,
    WaitSet, actor, cancelled, gather, node,
};
use testkit::eventually;
use testkit::flow::{add, all_free, app, failed, pid};

/// Ten times what is usual, and more.
const LONG: Duration = Duration::from_secs(20);

fn here(workers: usize) -> Flow {
    let builder = Flow::builder().workers("cpu", workers, Resources::cpus(1.0));
    builder.memory(64 << 20).in_process().build().unwrap()
}

/// Children of this process, of all its threads.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.flatten().map(of).map(|pids| pids.split_whitespace().count()).sum()
}

fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let mut all: Vec<String> =
        tasks.flatten().filter_map(name).map(|name| name.trim().to_owned()).collect();
    all.sort();
    all
}

#[node]
fn thread_there() -> String {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let task = flow::task().unwrap();
    assert_eq!((&task.worker, task.process), (&name, std::process::id()));
    name
}

pub(crate) fn no_process_is_made() {
    let before = children();
    let flow = here(2);
    assert_eq!(pid::remote_blocking(&flow), Ok(std::process::id() as i32));
    assert_eq!(children(), before);
    assert!(
        flow.workers()
            .unwrap()
            .iter()
            .all(|worker| worker.pids.iter().all(|&pid| pid == std::process::id() as i32))
    );
    let named = thread_there::options().on("cpu/1");
    assert_eq!(named.remote_blocking(&flow).unwrap(), "cpu/1", "as a debugger lists it");
    assert!(threads().contains(&"cpu/0".to_owned()));
    drop(flow);
    eventually("the threads are gone", || !threads().iter().any(|name| name.starts_with("cpu/")));
    // Again and again, with nothing that adds up.
    let maps = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let fds = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (maps(), fds());
    for n in 0..20 {
        assert_eq!(add::remote_blocking(&here(2), n, 1), Ok(n + 1));
    }
    let after = (maps(), fds());
    assert!(after.0 < before.0 + 40 && after.1 <= before.1 + 1, "{before:?} {after:?}");
}

// ---- values -----------------------------------------------------------------------------------

#[node]
fn made_text(n: usize) -> String {
    "x".repeat(n)
}

#[node]
fn length(text: &str) -> usize {
    text.len()
}

#[node]
fn ramp(len: usize) -> Result<Shared<f32>, Error> {
    Shared::new(&Flow::current()?, len, |room: &mut [f32]| {
        room.iter_mut().enumerate().for_each(|(at, one)| *one = at as f32);
    })
}

#[node]
fn last(all: Shared<f32>) -> f32 {
    all[all.len() - 1]
}

#[node]
fn total(all: Vec<u64>) -> u64 {
    all.iter().sum()
}

pub(crate) fn values_of_all_sizes_and_chains() {
    let flow = here(2);
    for size in [0, 10, 100, 1000, 60_000, 70_000, 1 << 20] {
        let made = made_text::remote(&flow, size).unwrap();
        assert_eq!(length::remote_blocking(&flow, &made), Ok(size));
        assert_eq!(made.get().unwrap().len(), size);
        assert_eq!(made.view().unwrap().len(), size);
    }
    let put = flow.put(&"y".repeat(100_000)).unwrap();
    assert_eq!(length::remote_blocking(&flow, &put), Ok(100_000));
    let block = ramp::remote(&flow, 50_000).unwrap();
    assert_eq!(last::remote_blocking(&flow, &block), Ok(49_999.0));
    let mut sum = add::remote(&flow, 0u64, 0u64).unwrap();
    for _ in 0..500 {
        sum = add::remote(&flow, &sum, 1u64).unwrap();
    }
    assert_eq!(sum.get(), Ok(500));
    let parts: Vec<_> = (0..50).map(|n| add::remote(&flow, n, 1u64).unwrap()).collect();
    let all = gather(&flow, &parts).unwrap();
    assert_eq!(total::remote_blocking(&flow, &all), Ok(1275));
    all_free(&flow);
}

// ---- nested -----------------------------------------------------------------------------------

#[node]
fn down(depth: u32) -> Result<u32, Error> {
    if depth == 0 {
        return Ok(0);
    }
    Ok(down::remote(&Flow::current()?, depth - 1)?.get()? + 1)
}

pub(crate) fn nested_twenty_deep_on_one_cpu() {
    let flow = here(1);
    assert_eq!(down::remote_blocking(&flow, 20), Ok(20));
    assert_eq!(children(), 0);
    all_free(&flow);
}

#[node]
fn parent(n: u64) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let leaves = (0..3).map(|leaf| add::remote(&flow, n, leaf)).collect::<Result<Vec<_>, _>>()?;
    let mut set = WaitSet::new(&flow)?;
    leaves.iter().try_for_each(|leaf| set.add(leaf.clone()))?;
    assert_eq!(set.wait(3, None)?.len(), 3);
    Ok(flow.get_all(&leaves)?.iter().sum())
}

pub(crate) fn a_hundred_parents_with_leaves() {
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).max_processes(16);
    let flow = builder.memory(64 << 20).in_process().build().unwrap();
    let parents: Vec<_> = (0..100u64).map(|n| parent::remote(&flow, n).unwrap()).collect();
    let sums = flow.get_all(&parents).unwrap();
    assert_eq!(sums, (0..100).map(|n| 3 * n + 3).collect::<Vec<_>>());
    all_free(&flow);
}

static LEFT: Mutex<Option<ObjectRef<String>>> = Mutex::new(None);

#[node]
fn leaves_a_ref_and_asks_from_a_thread() -> Result<usize, Error> {
    let flow = Flow::current()?;
    let long = made_text::remote(&flow, 200_000)?;
    long.wait_timeout(LONG);
    *LEFT.lock().unwrap() = Some(long.clone());
    // A thread that was given the flow is the body's; one that was not is the driver's.
    let own = flow.clone();
    let mine = std::thread::spawn(move || length::remote(&own, &long)?.get());
    let driver = std::thread::spawn(|| add::remote(&Flow::current()?, 1u64, 2u64).map(|_| ()));
    driver.join().unwrap()?;
    mine.join().unwrap()
}

pub(crate) fn refs_go_between_threads() {
    let flow = here(1);
    assert_eq!(leaves_a_ref_and_asks_from_a_thread::remote_blocking(&flow), Ok(200_000));
    let left = LEFT.lock().unwrap().take().unwrap();
    // As an argument of a call of the driver, though a body has made it.
    assert_eq!(length::remote_blocking(&flow, &left), Ok(200_000));
    assert_eq!(left.view().unwrap().len(), 200_000);
    let view = left.view().unwrap();
    drop(flow);
    assert!(view.bytes().all(|byte| byte == b'x'), "it is there for as long as it is viewed");
    assert!(matches!(left.get(), Err(Error::Closed(_))));
}

// ---- failures ---------------------------------------------------------------------------------

static HOOKED: AtomicU32 = AtomicU32::new(0);
static TRIES: AtomicU32 = AtomicU32::new(0);

#[node]
fn fails() -> Result<u32, String> {
    Err("no luck".to_owned())
}

#[node]
fn panics() -> u32 {
    panic!("on purpose")
}

#[node(max_retries = 3)]
fn third_time() -> Result<u32, String> {
    match TRIES.fetch_add(1, SeqCst) {
        0 | 1 => Err("not yet".to_owned()),
        _ => Ok(flow::task().map_or(0, |task| task.attempt)),
    }
}

pub(crate) fn errors_and_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        HOOKED.fetch_add(1, SeqCst);
        before(info);
    }));
    let flow = here(1);
    let error = app(fails::remote_blocking(&flow));
    assert_eq!(error.downcast::<String>().as_deref(), Some("no luck"));
    let error = failed(panics::remote_blocking(&flow));
    let Cause::Panicked { message, at } = &error.cause else { panic!("{error}") };
    assert_eq!(message, "on purpose");
    assert!(at.starts_with(file!()), "{at}");
    assert_eq!(HOOKED.load(SeqCst), 1, "the program's hook runs, once");
    let tried = third_time::options().retry_on_any_error();
    assert_eq!(tried.remote_blocking(&flow), Ok(3));
    let broken = panics::remote(&flow).unwrap();
    let below = failed(twice::remote_blocking(&flow, &broken));
    assert!(matches!(below.cause, Cause::Panicked { .. }) && below.below.is_some());
    all_free(&flow);
}

#[node]
fn twice(n: u32) -> u32 {
    2 * n
}

// ---- hooks ------------------------------------------------------------------------------------

static STEPS: Mutex<Vec<(String, std::thread::ThreadId)>> = Mutex::new(Vec::new());

#[node]
fn step(what: &str) {
    STEPS.lock().unwrap().push((what.to_owned(), std::thread::current().id()));
}

#[node]
fn refuses() -> Result<(), String> {
    Err("not today".to_owned())
}

pub(crate) fn hooks_run_on_the_same_thread() {
    let flow = here(2);
    let call = step::options().setup(&step::NODE, ("setup",)).cleanup(&step::NODE, ("cleanup",));
    call.remote_blocking(&flow, "body").unwrap();
    let steps = std::mem::take(&mut *STEPS.lock().unwrap());
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["setup", "body", "cleanup"]);
    let on: HashSet<_> = steps.iter().map(|(_, thread)| *thread).collect();
    assert!(on.len() == 1 && !on.contains(&std::thread::current().id()));
    let broken = step::options().setup(&refuses::NODE, ());
    assert!(matches!(failed(broken.remote_blocking(&flow, "body")).cause, Cause::Setup(_)));
    assert!(STEPS.lock().unwrap().is_empty());
}

// ---- actors -----------------------------------------------------------------------------------

static DROPPED: AtomicBool = AtomicBool::new(false);

pub(crate) struct Counter {
    count: u64,
}

#[actor(max_restarts = 1)]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Counter {
    pub fn from(count: u64) -> Self {
        Self { count }
    }

    pub fn more(&mut self, by: u64) -> u64 {
        self.count += by;
        self.count
    }

    pub fn bad(&mut self) -> u64 {
        panic!("a bad call")
    }

    pub fn stuck(&mut self) -> u64 {
        until_freed();
        0
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        DROPPED.store(true, SeqCst);
    }
}

#[node]
fn count(counter: CounterActor, by: u64) -> Result<u64, Error> {
    counter.more(by).remote_blocking()
}

pub(crate) fn actors_keep_their_state() {
    let flow = here(2);
    let counter = CounterActor::from(&flow, 10).unwrap();
    assert_eq!(counter.more(1).remote_blocking(), Ok(11));
    assert_eq!(count::remote_blocking(&flow, &counter, 4), Ok(15));
    assert!(matches!(failed(counter.bad().remote_blocking()).cause, Cause::Panicked { .. }));
    assert_eq!(counter.more(1).remote_blocking(), Ok(16));
    assert_eq!(counter.raw().info().unwrap().pid, Some(std::process::id() as i32));
    counter.raw().kill().unwrap();
    let gone = failed(counter.more(1).remote_blocking());
    assert!(matches!(gone.cause, Cause::ActorDied(_)));
    eventually("its value is dropped", || DROPPED.load(SeqCst));
    // One that is killed in a call that does not return.
    let stuck = CounterActor::from(&flow, 0).unwrap();
    let call = stuck.stuck().remote().unwrap();
    eventually("it is in the call", || IN_BODY.load(SeqCst) == 1);
    stuck.raw().kill().unwrap();
    assert!(matches!(failed(call.get_timeout(LONG)).cause, Cause::ActorDied(_)));
    FREED.store(true, SeqCst);
    all_free(&flow);
}

// ---- cancels, deadlines, the end --------------------------------------------------------------

static FREED: AtomicBool = AtomicBool::new(false);
static IN_BODY: AtomicU32 = AtomicU32::new(0);
static KID_ENDED: AtomicBool = AtomicBool::new(false);

/// Does not look at whether it was cancelled.
fn until_freed() {
    IN_BODY.fetch_add(1, SeqCst);
    while !FREED.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    IN_BODY.fetch_sub(1, SeqCst);
}

#[node(max_retries = 0)]
fn stuck(bytes: &[u8]) -> usize {
    until_freed();
    assert!(bytes.iter().all(|&byte| byte == 7), "its argument was given away");
    LATE.fetch_add(1, SeqCst);
    bytes.len()
}

static LATE: AtomicU32 = AtomicU32::new(0);

#[node]
fn told() -> Result<u32, Cancelled> {
    flow::sleep(LONG)?;
    Ok(1)
}

fn await_running<T>(flow: &Flow, of: &ObjectRef<T>) {
    eventually("it runs", || matches!(flow.pending(of), Ok(Pending::Running { .. })));
}

pub(crate) fn a_body_is_told_of_a_cancel() {
    let flow = here(1);
    let (runs, waits) = (told::remote(&flow).unwrap(), told::remote(&flow).unwrap());
    await_running(&flow, &runs);
    assert_eq!(flow.cancel(&waits, Cancel::default()).unwrap().found, Found::Queued);
    let report = flow.cancel(&runs, Cancel::default()).unwrap();
    assert!(report.found == Found::Running && !report.worker_ended);
    assert!(runs.get_timeout(LONG).unwrap_err().is_cancelled());
    assert!(waits.get_timeout(LONG).unwrap_err().is_cancelled());
    assert_eq!(add::remote_blocking(&flow, 1, 2), Ok(3));
    assert!(!cancelled(), "nobody has cancelled the driver");
    all_free(&flow);
}

pub(crate) fn a_forced_cancel_gives_a_stuck_body_up() {
    let flow = here(1);
    let seven = flow.put(&vec![7u8; 300_000]).unwrap();
    let held = stuck::remote(&flow, &seven).unwrap();
    await_running(&flow, &held);
    eventually("it is in its body", || IN_BODY.load(SeqCst) == 1);
    let begun = Instant::now();
    let report = flow.cancel(&held, Cancel::forced()).unwrap();
    assert!(report.found == Found::Running && report.worker_ended, "{report}");
    assert!(held.get_timeout(LONG).unwrap_err().is_cancelled());
    assert!(begun.elapsed() < Duration::from_secs(5), "it does not wait for the body");
    // Its cpu is there for others at once, on another thread; its argument stays its own.
    assert_eq!(add::remote_blocking(&flow, 1, 2), Ok(3));
    drop((seven, held));
    let others: Vec<_> = (0..50).map(|_| flow.put(&vec![9u8; 300_000]).unwrap()).collect();
    FREED.store(true, SeqCst);
    eventually("the body went on to its end", || LATE.load(SeqCst) == 1);
    drop(others);
    eventually("its thread is gone", || {
        threads().iter().filter(|name| *name == "cpu/0").count() == 1
    });
    assert_eq!(add::remote_blocking(&flow, 1, 2), Ok(3));
    all_free(&flow);
}

#[node]
fn kid() -> Result<u32, Cancelled> {
    let slept = flow::sleep(LONG);
    KID_ENDED.store(slept.is_err(), SeqCst);
    slept.map(|()| 1)
}

#[node(max_retries = 0)]
fn late() -> Result<u64, Error> {
    let flow = Flow::current()?;
    let _kid = kid::remote(&flow)?;
    until_freed();
    // It is told that there is nothing more to ask for.
    let refused = add::remote(&flow, 1u64, 1u64);
    let told =
        matches!(&refused, Err(error) if error.is_cancelled() || matches!(error, Error::Closed(_)));
    LATE.fetch_add(1 + u32::from(told), SeqCst);
    refused?.get()
}

pub(crate) fn a_deadline_fails_the_call_at_once() {
    let flow = here(2);
    let call = late::options().deadline(Duration::from_millis(200)).remote(&flow).unwrap();
    let error = failed(call.get_timeout(LONG));
    assert!(matches!(error.cause, Cause::Deadline(_)), "{error}");
    assert_eq!(IN_BODY.load(SeqCst), 1, "the body still runs");
    eventually("what it has called is cancelled", || KID_ENDED.load(SeqCst));
    all_free(&flow);
    assert_eq!(add::remote_blocking(&flow, 1, 2), Ok(3));
    FREED.store(true, SeqCst);
    eventually("its later call was refused", || LATE.load(SeqCst) == 2);
    assert_eq!(add::remote_blocking(&flow, 1, 2), Ok(3));
}

pub(crate) fn a_drop_leaves_a_stuck_body_to_itself() {
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.grace(Duration::from_millis(200)).in_process().build().unwrap();
    let seven = flow.put(&vec![7u8; 300_000]).unwrap();
    let held = stuck::remote(&flow, &seven).unwrap();
    let waits = late::remote(&flow).unwrap();
    eventually("both are in their bodies", || IN_BODY.load(SeqCst) == 2);
    let begun = Instant::now();
    drop(flow);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for ended in [held.get().map(drop), waits.get().map(drop)] {
        assert!(matches!(&ended, Err(Error::Closed(why)) if why.contains("dropped")), "{ended:?}");
    }
    drop((seven, held, waits));
    // Another flow in its place is none of their business.
    let next = here(2);
    assert_eq!(add::remote_blocking(&next, 1, 2), Ok(3));
    FREED.store(true, SeqCst);
    eventually("both have found their memory, and an end", || LATE.load(SeqCst) == 3);
    eventually("their threads have ended", || IN_BODY.load(SeqCst) == 0);
}

pub(crate) fn sets_of_refs_and_labels() {
    let builder = Flow::builder().workers("cpu", 2, Resources::cpus(1.0).with("board", 1.0));
    let flow = builder.memory(64 << 20).in_process().build().unwrap();
    let call = add::options().resource("board", 1.0);
    let all: Vec<_> = (0..20u64).map(|n| call.remote(&flow, n, 1u64).unwrap()).collect();
    let mut set = WaitSet::new(&flow).unwrap();
    all.into_iter().try_for_each(|one| set.add(one)).unwrap();
    let mut sum = 0;
    while !set.is_empty() {
        sum += set.wait(1, Some(LONG)).unwrap().iter().map(|one| one.get().unwrap()).sum::<u64>();
    }
    assert_eq!(sum, 210);
    all_free(&flow);
}

/// Processes and threads at once, in one program.
pub(crate) fn beside_a_flow_of_processes() {
    let (threads, processes) = (here(1), testkit::flow::flow(1));
    assert_eq!(pid::remote_blocking(&threads), Ok(std::process::id() as i32));
    assert_ne!(pid::remote_blocking(&processes), Ok(std::process::id() as i32));
    let of_threads = add::remote(&threads, 1u64, 1u64).unwrap();
    let refused = add::remote(&processes, &of_threads, 1u64);
    assert!(
        matches!(&refused, Err(Error::Encode { why, .. }) if why.contains("another flow")),
        "{refused:?}"
    );
    assert_eq!(down::remote_blocking(&threads, 3), Ok(3));
    assert_eq!(down::remote_blocking(&processes, 3), Ok(3));
}
