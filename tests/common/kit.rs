//! What tests have in common besides the harness: small arguments, waiting, looking at processes.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mailring::abi::{AbiError, CallConfig, ContinuousTensor, Element, TaskArgs, TaskArgsView};
use mailring::{Buffer, Builder, Error, Executor, FailureKind, Mode, TaskFailure};

pub(crate) const BOTH: [Mode; 2] = [Mode::Process, Mode::Thread];

pub(crate) type Done = Result<(), AbiError>;

/// A small executor: quick to build and to fill.
pub(crate) fn small(mode: Mode, workers: usize) -> Builder {
    Executor::builder()
        .mode(mode)
        .workers(workers)
        .slot_window(256)
        .heap_bytes(1 << 20)
        .buffer_bytes(16 << 20)
        .grace(Duration::from_millis(300))
}

pub(crate) fn config() -> CallConfig {
    CallConfig::default()
}

/// Element `index` of a buffer, as a tensor.
pub(crate) fn at<T: Element>(buffer: &Buffer<T>, index: usize) -> ContinuousTensor {
    buffer.view(index, &[1]).expect("inside the buffer")
}

/// Element `index` of tensor `tensor`, to be shared between bodies that run at the same time.
pub(crate) fn atom<'a>(args: &TaskArgsView<'a>, tensor: usize, index: usize) -> &'a AtomicU64 {
    let (first, count) = args.elements::<u64>(tensor).expect("eight-byte elements");
    assert!(index < count, "element {index} of {count}");
    // SAFETY: inside the tensor, aligned, and mapped for as long as the body runs; everybody who
    // shares it uses atomics.
    unsafe { AtomicU64::from_ptr(first.add(index)) }
}

/// The same from the host's side.
pub(crate) fn cell(buffer: &Buffer<u64>, index: usize) -> &AtomicU64 {
    assert!(index < buffer.len());
    // SAFETY: inside the buffer, aligned, mapped while the buffer lives.
    unsafe { AtomicU64::from_ptr(buffer.as_mut_ptr().add(index)) }
}

pub(crate) fn args() -> TaskArgs {
    TaskArgs::new()
}

/// Waits until `condition` holds; the limit is there to catch a hang.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// In a body: waits until the shared element is at least `value`; false when that takes too long.
pub(crate) fn await_value(cell: &AtomicU64, value: u64) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while cell.load(std::sync::atomic::Ordering::SeqCst) < value {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

/// The failed task behind an error.
#[track_caller]
pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> TaskFailure {
    match result {
        Err(Error::Task(failure)) => *failure,
        other => panic!("expected a failed task, not {other:?}"),
    }
}

/// The same, of this kind.
#[track_caller]
pub(crate) fn failed_as<T: std::fmt::Debug>(
    result: Result<T, Error>,
    kind: FailureKind,
) -> TaskFailure {
    let failure = failure(result);
    assert_eq!(failure.kind, kind, "{failure}");
    failure
}

// ---- processes ----------------------------------------------------------------------------------

pub(crate) fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "not process {pid}");
    // SAFETY: passes no pointers.
    unsafe { libc::kill(pid, signal) };
}

/// State character and parent of a process.
pub(crate) fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether the process runs or sleeps; a zombie does neither.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

pub(crate) fn parent_of(pid: i32) -> i32 {
    stat(pid).map_or(0, |(_, parent)| parent)
}

/// Bytes of memory that are the process's own (not shared with others), in KiB.
pub(crate) fn own_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("RssAnon:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Processor time of a process so far.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u64> =
        behind.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    // SAFETY: asks for a constant.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Duration::from_secs_f64(fields.iter().sum::<u64>() as f64 / ticks)
}

/// Open descriptors of this process.
pub(crate) fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// A small generator (SplitMix64): the same numbers for the same seed everywhere.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, of_hundred: u64) -> bool {
        self.next() % 100 < of_hundred
    }
}

pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
