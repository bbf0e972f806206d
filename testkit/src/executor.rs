//! Small executors, arguments and elements of buffers, waiting, and failures taken apart.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mailring::abi::{
    AbiError, CallConfig, ContinuousTensor, DataType, Element, TaskArgs, TaskArgsView,
};
use mailring::{Buffer, Builder, Error, Executor, FailureKind, Mode, TaskContext, TaskFailure};

/// Workers as processes and as threads; all of them threads for a sanitizer that cannot follow a fork
/// (`.ci/sanitize thread`).
pub const BOTH: [Mode; 2] = match option_env!("MAILRING_ALL_THREADS") {
    None => [Mode::Process, Mode::Thread],
    Some(_) => [Mode::Thread, Mode::Thread],
};

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a body that can only be refused its arguments.
pub type Done = Result<(), AbiError>;

/// A small executor: quick to build and to fill.
pub fn small(mode: Mode, workers: usize) -> Builder {
    Executor::builder()
        .mode(mode)
        .workers(workers)
        .slot_window(256)
        .heap_bytes(1 << 20)
        .buffer_bytes(16 << 20)
        .grace(Duration::from_millis(300))
}

/// A configuration without anything in it.
pub fn config() -> CallConfig {
    CallConfig::default()
}

/// Element `index` of a buffer, as a tensor.
pub fn at<T: Element>(buffer: &Buffer<T>, index: usize) -> ContinuousTensor {
    buffer.view(index, &[1]).expect("inside the buffer")
}

/// Element `index` of tensor `tensor`, to be shared between bodies that run at the same time.
pub fn atom<'a>(args: &TaskArgsView<'a>, tensor: usize, index: usize) -> &'a AtomicU64 {
    let (first, count) = args.elements::<u64>(tensor).expect("eight-byte elements");
    assert!(index < count, "element {index} of {count}");
    // SAFETY: inside the tensor, aligned, and mapped for as long as the body runs; everybody who
    // shares it uses atomics.
    unsafe { AtomicU64::from_ptr(first.add(index)) }
}

/// The same from the host's side.
pub fn cell(buffer: &Buffer<u64>, index: usize) -> &AtomicU64 {
    assert!(index < buffer.len());
    // SAFETY: inside the buffer, aligned, mapped while the buffer lives.
    unsafe { AtomicU64::from_ptr(buffer.as_mut_ptr().add(index)) }
}

/// No arguments yet.
pub fn args() -> TaskArgs {
    TaskArgs::new()
}

/// An output of this many KiB that the submit is to allocate.
pub fn new_kib(kib: u32) -> ContinuousTensor {
    ContinuousTensor::new(0, &[kib * 128], DataType::Uint64).expect("one dimension")
}

/// Runs `f`, which must not take longer than that.
#[track_caller]
pub fn within<R>(seconds: u64, f: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = f();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(seconds), "took {took:?}, more than {seconds} s");
    result
}

/// Waits until `condition` holds; the limit is there to catch a hang.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// In a body: waits until the shared element is at least `value`; false when that takes too long.
pub fn await_value(cell: &AtomicU64, value: u64) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while cell.load(std::sync::atomic::Ordering::SeqCst) < value {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

/// In a body: waits until it is told to stop; false when that takes too long.
pub fn await_cancel(context: &TaskContext<'_>) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while !context.cancelled() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

/// The failed task behind an error.
#[track_caller]
pub fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> TaskFailure {
    match result {
        Err(Error::Task(failure)) => *failure,
        other => panic!("expected a failed task, not {other:?}"),
    }
}

/// The same, of this kind.
#[track_caller]
pub fn failed_as<T: std::fmt::Debug>(result: Result<T, Error>, kind: FailureKind) -> TaskFailure {
    let failure = failure(result);
    assert_eq!(failure.kind, kind, "{failure}");
    failure
}
