//! More than there is memory or processes for: values that fill the memory and those who use them,
//! and many bodies that wait for what they have called.

use std::time::{Duration, Instant};

use mailring::flow::{
    Cause, Error, Flow, ObjectRef, Resources, Shared, WaitSet, actor, gather, node,
};
use testkit::flow::{Files, append, assert_over, failed, flow, lines};

const MIB: usize = 1 << 20;
/// To catch a hang; all of this takes a part of it.
const LONG: Duration = Duration::from_secs(20);

fn memory(cpus: usize, bytes: usize) -> Flow {
    Flow::builder().workers("cpu", 1, Resources::cpus(cpus as f64)).memory(bytes).build().unwrap()
}

#[node]
fn produce(len: usize) -> Vec<u8> {
    vec![7; len]
}

#[node]
fn len(bytes: &[u8]) -> usize {
    bytes.len()
}

#[node]
fn copy(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[node]
fn join(one: &[u8], two: &[u8]) -> Vec<u8> {
    vec![one[0]; one.len().min(two.len())]
}

#[node]
fn sum_of(one: &[u8], two: &[u8], three: &[u8]) -> usize {
    one.len() + two.len() + three.len()
}

#[track_caller]
fn all_are(flow: &Flow, refs: &[ObjectRef<usize>], len: usize) {
    for (at, one) in refs.iter().enumerate() {
        assert_eq!(one.get_timeout(LONG), Ok(len), "number {at}; {:?}", flow.stats());
    }
}

pub(crate) fn who_uses_values_goes_before_who_makes_them() {
    for cpus in [1, 2, 4] {
        let flow = memory(cpus, 64 * MIB);
        let made = (0..20).map(|_| {
            let value = produce::remote(&flow, 10 * MIB).unwrap();
            len::remote(&flow, value).unwrap()
        });
        let made: Vec<_> = made.collect();
        all_are(&flow, &made, 10 * MIB);
    }
}

pub(crate) fn all_that_make_values_were_called_first() {
    for cpus in [1, 2] {
        let flow = memory(cpus, 4 * MIB);
        let made: Vec<_> = (0..200).map(|_| produce::remote(&flow, MIB).unwrap()).collect();
        let made: Vec<_> = made.into_iter().map(|one| len::remote(&flow, one).unwrap()).collect();
        all_are(&flow, &made, MIB);
    }
}

/// Each stage has its input and its value in memory at the same time.
pub(crate) fn chains_of_values_and_little_memory() {
    for (cpus, by_stage) in [(1, false), (2, false), (1, true), (2, true)] {
        let flow = memory(cpus, 4 * MIB);
        let mut last: Vec<_> = Vec::new();
        for _ in 0..40 {
            let mut one = produce::remote(&flow, MIB).unwrap();
            if !by_stage {
                for _ in 0..3 {
                    one = copy::remote(&flow, one).unwrap();
                }
            }
            last.push(one);
        }
        if by_stage {
            for _ in 0..3 {
                last = last.into_iter().map(|one| copy::remote(&flow, one).unwrap()).collect();
            }
        }
        let last: Vec<_> = last.into_iter().map(|one| len::remote(&flow, one).unwrap()).collect();
        all_are(&flow, &last, MIB);
    }
}

pub(crate) fn diamonds_of_values_and_little_memory() {
    for cpus in [1, 2] {
        let flow = memory(cpus, 6 * MIB);
        let made = (0..20).map(|_| {
            let top = produce::remote(&flow, MIB).unwrap();
            let left = copy::remote(&flow, &top).unwrap();
            let right = copy::remote(&flow, top).unwrap();
            let bottom = join::remote(&flow, left, right).unwrap();
            len::remote(&flow, bottom).unwrap()
        });
        let made: Vec<_> = made.collect();
        all_are(&flow, &made, MIB);
    }
}

/// A sum needs all of its inputs at the same time; they are as many as fit.
pub(crate) fn fan_ins_as_large_as_the_memory() {
    for (cpus, turned) in [(1, false), (2, false), (2, true)] {
        let flow = memory(cpus, 4 * MIB);
        let mut made: Vec<_> = (0..30).map(|_| produce::remote(&flow, MIB).unwrap()).collect();
        if turned {
            made.reverse();
        }
        let sums: Vec<_> = made
            .chunks(3)
            .map(|three| sum_of::remote(&flow, &three[0], &three[1], &three[2]).unwrap())
            .collect();
        drop(made);
        all_are(&flow, &sums, 3 * MIB);
    }
}

pub(crate) fn the_driver_takes_values_one_by_one() {
    let flow = memory(2, 8 * MIB);
    let mut all: std::collections::VecDeque<_> =
        (0..40).map(|_| produce::remote(&flow, 3 * MIB).unwrap()).collect();
    while let Some(one) = all.pop_front() {
        assert_eq!(one.get_timeout(LONG).map(|bytes| bytes.len()), Ok(3 * MIB));
    }
    let mut set = WaitSet::new(&flow).unwrap();
    for _ in 0..20 {
        set.add(copy::remote(&flow, produce::remote(&flow, 2 * MIB).unwrap()).unwrap()).unwrap();
    }
    while !set.is_empty() {
        for one in set.wait(1, Some(LONG)).unwrap() {
            assert_eq!(one.get().unwrap().len(), 2 * MIB);
        }
    }
}

/// Makes values, and waits for what uses them.
#[node]
fn nested(count: usize, bytes: usize) -> Result<usize, Error> {
    let flow = Flow::current()?;
    let made = (0..count).map(|_| len::remote(&flow, produce::remote(&flow, bytes)?));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    Ok(flow.get_all(&made)?.iter().sum())
}

pub(crate) fn bodies_that_make_values_and_wait() {
    let flow = memory(2, 4 * MIB);
    let all: Vec<_> = (0..20).map(|_| nested::remote(&flow, 6usize, MIB).unwrap()).collect();
    all_are(&flow, &all, 6 * MIB);
}

#[node]
fn shared(len: usize) -> Result<Shared<u8>, Error> {
    Shared::new(&Flow::current()?, len, |all| all.fill(1))
}

#[node]
fn shared_len(all: Shared<u8>) -> usize {
    all.len()
}

pub(crate) fn blocks_fill_the_memory() {
    for cpus in [1, 2] {
        let flow = memory(cpus, 4 * MIB);
        let made: Vec<_> = (0..40).map(|_| shared::remote(&flow, MIB).unwrap()).collect();
        let made: Vec<_> =
            made.into_iter().map(|one| shared_len::remote(&flow, one).unwrap()).collect();
        all_are(&flow, &made, MIB);
    }
}

pub(crate) fn a_full_spill_disk_is_waited_for() {
    let Some(disk) = Disk::mount(6 * MIB) else {
        eprintln!("no right to mount: the limit of the spill itself stands in for a full disk");
        let directory = tempfile::tempdir().unwrap();
        return spilling(|flow| flow.spill_limited(directory.path(), 6 * MIB));
    };
    spilling(|flow| flow.spill(disk.0.path()));
}

fn spilling(spill: impl Fn(mailring::flow::Builder) -> mailring::flow::Builder) {
    for cpus in [1, 2] {
        let builder = Flow::builder().workers("cpu", 1, Resources::cpus(f64::from(cpus)));
        let flow = spill(builder.memory(8 * MIB)).build().unwrap();
        let made: Vec<_> = (0..20).map(|_| produce::remote(&flow, 3 * MIB).unwrap()).collect();
        for one in made {
            assert_eq!(len::remote(&flow, one).unwrap().get_timeout(LONG), Ok(3 * MIB));
        }
        let chain = (0..20).map(|_| {
            let one = produce::remote(&flow, 3 * MIB).unwrap();
            len::remote(&flow, copy::remote(&flow, one).unwrap()).unwrap()
        });
        let chain: Vec<_> = chain.collect();
        all_are(&flow, &chain, 3 * MIB);
        let refused = failed(produce::remote_blocking(&flow, 12 * MIB));
        assert!(matches!(&refused.cause, Cause::OutOfMemory(_)), "{refused}");
    }
}

/// A small file system of this process's own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(bytes: usize) -> Option<Self> {
        let own = unsafe {
            // SAFETY: passes no pointers; this test's process is the only one that is concerned.
            libc::unshare(libc::CLONE_NEWNS)
        };
        let directory = tempfile::tempdir().ok()?;
        let path = directory.path().to_str()?;
        let size = format!("size={bytes}");
        let done = |program: &str, args: &[&str]| {
            std::process::Command::new(program).args(args).status().is_ok_and(|end| end.success())
        };
        let mounted = own == 0
            && done("mount", &["--make-rprivate", "/"])
            && done("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", path]);
        mounted.then_some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

/// What can never be is said soon, with who has the memory and what can be done.
pub(crate) fn memory_that_can_never_be_enough() {
    let flow = memory(2, 8 * MIB);
    let since = Instant::now();
    let one = produce::remote(&flow, 5 * MIB).unwrap();
    let copied = failed(copy::remote(&flow, &one).unwrap().get_timeout(LONG));
    let Cause::OutOfMemory(why) = &copied.cause else { panic!("{copied}") };
    assert!(why.contains("`copy`") && why.contains("memory(..)"), "{why}");
    let two = produce::remote(&flow, 2 * MIB).unwrap();
    let both = gather(&flow, &[one, two]).unwrap();
    let gathered = failed(both.get_timeout(LONG).map(drop));
    assert!(matches!(&gathered.cause, Cause::OutOfMemory(_)), "{gathered}");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    drop(both);
    // And the rest goes on.
    let made: Vec<_> = (0..5).map(|_| produce::remote(&flow, 3 * MIB).unwrap()).collect();
    let made: Vec<_> = made.into_iter().map(|one| len::remote(&flow, one).unwrap()).collect();
    all_are(&flow, &made, 3 * MIB);
}

#[node]
fn sleeps_until_told() {
    let _ = mailring::flow::sleep(Duration::from_secs(3600));
}

#[node]
fn never_before(n: u64) -> u64 {
    n
}

/// However long a stranger is at work beside that.
pub(crate) fn memory_that_the_driver_holds() {
    let patience = Duration::from_millis(500);
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(8 * MIB);
    let flow = builder.memory_patience(patience).build().unwrap();
    let since = Instant::now();
    let _stranger = sleeps_until_told::options().cpus(0.0).remote(&flow).unwrap();
    let all: Vec<_> = (0..20).map(|_| produce::remote(&flow, 3 * MIB).unwrap()).collect();
    let mut refused = 0;
    for one in &all {
        if let Err(error) = one.get_timeout(LONG) {
            let error = failed(Err::<(), _>(error));
            let Cause::OutOfMemory(why) = &error.cause else { panic!("{error}") };
            assert!(why.contains("driver") && why.contains("`produce`"), "{why}");
            refused += 1;
        }
    }
    assert_eq!(refused, 18);
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "once, and not for each: {:?}",
        since.elapsed()
    );
    drop(all);
    assert_eq!(produce::remote_blocking(&flow, 3 * MIB).map(|bytes| bytes.len()), Ok(3 * MIB));
    // What needs none is not held up by many that wait for it, though it is new.
    let all: Vec<_> = (0..100).map(|_| produce::remote(&flow, 3 * MIB).unwrap()).collect();
    assert!(all[0].get_timeout(LONG).is_ok());
    let since = Instant::now();
    assert_eq!(never_before::remote(&flow, 3).unwrap().get_timeout(LONG), Ok(3));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

// ---- many bodies that wait ----------------------------------------------------------------------

#[node]
fn leaf(n: u64) -> u64 {
    n
}

#[node]
fn parent(n: u64) -> Result<u64, Error> {
    leaf::remote(&Flow::current()?, n)?.get()
}

pub(crate) fn a_thousand_parents_of_one_leaf() {
    let flow = Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).memory(64 * MIB).build();
    let flow = flow.unwrap();
    let since = Instant::now();
    let all: Vec<_> = (0..1000).map(|n| parent::remote(&flow, n).unwrap()).collect();
    for (n, one) in (0..).zip(&all) {
        assert_eq!(one.get_timeout(LONG), Ok(n), "{:?}", flow.stats());
    }
    assert!(since.elapsed() < LONG, "{:?}", since.elapsed());
    assert!(flow.stats().unwrap().processes < 40, "{:?}", flow.stats());
}

/// The same below one body, which waits for all; with a label, so that leaves wait for each other;
/// and three deep.
#[node]
fn wide(count: u64, labelled: bool) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let all = (0..count).map(|n| middle::options().cpus(0.5).remote(&flow, n, labelled));
    Ok(flow.get_all(&all.collect::<Result<Vec<_>, _>>()?)?.iter().sum())
}

#[node]
fn middle(n: u64, labelled: bool) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let call = parent::options();
    let call = if labelled { call.resource("lock", 1.0) } else { call };
    let three = (0..3).map(|_| call.remote(&flow, n)).collect::<Result<Vec<_>, _>>()?;
    Ok(flow.get_all(&three)?.iter().sum())
}

pub(crate) fn breadth_below_a_body() {
    let group = Resources::cpus(2.0).with("lock", 1.0);
    for labelled in [false, true] {
        let builder = Flow::builder().workers("cpu", 1, group.clone()).memory(64 * MIB);
        let flow = builder.max_processes(24).build().unwrap();
        let sum = wide::remote(&flow, 100u64, labelled).unwrap().get_timeout(LONG);
        assert_eq!(sum, Ok(3 * 4950), "{:?}", flow.tasks());
        let roots: Vec<_> = (0..100).map(|n| middle::remote(&flow, n, labelled).unwrap()).collect();
        assert_eq!(flow.get_all_timeout(&roots, LONG).map(|all| all.iter().sum()), Ok(3 * 4950u64));
    }
}

/// Parents go before what they wait for by priority, and need no cpu.
pub(crate) fn breadth_with_priorities_and_without_cpus() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 * MIB);
    let flow = builder.max_processes(24).build().unwrap();
    let call = parent::options().priority(5);
    let all: Vec<_> = (0..200).map(|n| call.remote(&flow, n).unwrap()).collect();
    assert_eq!(flow.get_all_timeout(&all, LONG).map(|all| all.len()), Ok(200));
    let call = parent::options().cpus(0.0);
    let all: Vec<_> = (0..200).map(|n| call.remote(&flow, n).unwrap()).collect();
    assert_eq!(flow.get_all_timeout(&all, LONG).map(|all| all.len()), Ok(200));
}

pub(crate) struct Counter(u64);

#[actor]
#[allow(unreachable_pub, reason = "the functions of an actor are public")]
impl Counter {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add(&mut self, n: u64) -> Result<u64, Error> {
        self.0 += leaf::remote(&Flow::current()?, n)?.get()?;
        Ok(self.0)
    }
}

#[node]
fn asks_an_actor(counter: CounterActor, bytes: usize) -> Result<usize, Error> {
    let flow = Flow::current()?;
    let made = produce::remote(&flow, bytes)?;
    counter.add(1).remote_blocking()?;
    len::remote(&flow, made)?.get()
}

pub(crate) fn breadth_with_an_actor_and_little_memory() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(2.0)).memory(4 * MIB);
    let flow = builder.max_processes(24).build().unwrap();
    let counter = CounterActor::new(&flow).unwrap();
    let call = |_| asks_an_actor::remote(&flow, &counter, MIB).unwrap();
    let all: Vec<_> = (0..100).map(call).collect();
    all_are(&flow, &all, MIB);
    assert_eq!(counter.add(0).remote_blocking(), Ok(100));
}

#[node]
fn waits_in_a_set(count: u64) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let mut set = WaitSet::new(&flow)?;
    for n in 0..count {
        set.add(parent::remote(&flow, n)?)?;
    }
    let mut sum = 0;
    while !set.is_empty() {
        for one in set.wait(1, None)? {
            sum += one.get()?;
        }
    }
    Ok(sum)
}

pub(crate) fn breadth_and_sets() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(2.0)).memory(64 * MIB);
    let flow = builder.max_processes(24).build().unwrap();
    let all: Vec<_> = (0..60).map(|_| waits_in_a_set::remote(&flow, 10u64).unwrap()).collect();
    assert_eq!(flow.get_all_timeout(&all, LONG).map(|all| all.iter().sum()), Ok(60 * 45u64));
    // And another beside it.
    assert_eq!(waits_in_a_set::remote_blocking(&self::flow(1), 10u64), Ok(45));
}

#[node]
fn deep_and_nobody(left: u32, begun: &str) -> Result<u32, Error> {
    if left == 0 {
        append(begun, "all");
        std::thread::sleep(LONG);
        return Ok(0);
    }
    Ok(1 + deep_and_nobody::remote_blocking(&Flow::current()?, left - 1, begun)?)
}

/// A flow that is dropped while a thousand bodies wait for each other.
pub(crate) fn soak_the_end_of_a_thousand_that_wait() {
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 * MIB);
    let flow = builder.max_processes(1010).build().unwrap();
    let files = Files::new();
    let begun = files.path("begun");
    let waits = deep_and_nobody::remote(&flow, 1000u32, &begun).unwrap();
    let since = Instant::now();
    while lines(&begun).is_empty() {
        assert!(since.elapsed() < 5 * LONG, "{:?}", flow.stats());
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("a thousand deep: {:?}", since.elapsed());
    let since = Instant::now();
    drop(flow);
    let took = since.elapsed();
    eprintln!("dropping a flow with 1,000 bodies that wait: {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_over(waits.get());
}

/// Two GB through 256 MiB, in several shapes.
pub(crate) fn soak_two_gigabytes_through_little_memory() {
    const CHUNK: usize = 64 * MIB;
    let all_are = |flow: &Flow, all: &[ObjectRef<usize>], len: usize| {
        for one in all {
            assert_eq!(one.get_timeout(3 * LONG), Ok(len), "{:?}", flow.stats());
        }
    };
    for cpus in [1, 2] {
        let flow = memory(cpus, 256 * MIB);
        let chunk = |_| produce::remote(&flow, CHUNK).unwrap();
        // Maps, all called before what uses them.
        let made: Vec<_> = (0..32).map(chunk).collect();
        let made: Vec<_> = made.into_iter().map(|one| len::remote(&flow, one).unwrap()).collect();
        all_are(&flow, &made, CHUNK);
        // Fan-ins of as many as fit.
        let made: Vec<_> = (0..33).map(chunk).collect();
        let sums = made.chunks(3).map(|m| sum_of::remote(&flow, &m[0], &m[1], &m[2]).unwrap());
        let sums: Vec<_> = sums.collect();
        drop(made);
        all_are(&flow, &sums, 3 * CHUNK);
        // Chains.
        let made: Vec<_> = (0..16).map(chunk).collect();
        let made: Vec<_> = made.into_iter().map(|one| copy::remote(&flow, one).unwrap()).collect();
        let made: Vec<_> = made.into_iter().map(|one| len::remote(&flow, one).unwrap()).collect();
        all_are(&flow, &made, CHUNK);
        // One by one, by the driver.
        let mut made: std::collections::VecDeque<_> = (0..16).map(chunk).collect();
        while let Some(one) = made.pop_front() {
            assert_eq!(one.view().unwrap().len(), CHUNK);
        }
    }
}
