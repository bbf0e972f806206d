//! Chips that take their process with them, or never come back.

use std::time::{Duration, Instant};

use mailring::abi::CallConfig;
use mailring::{
    Error, Executor, FailureKind, Mode, TaskFailure, TaskOptions, WaitStrategy, WorkerId,
};

use crate::kit::{InOut, Lab, Scalar, set, simulated};
use testkit::{args, eventually, failed_as, kill, small};

/// Longest time that a failure may take to be noticed.
const BOUND: Duration = Duration::from_secs(10);

/// Devices 2 and 3, a program that misbehaves on demand (0), one that computes (1).
fn chips(lab: &Lab) -> Executor {
    let mut chips = simulated().devices([2, 3]);
    chips.register("misbehave", lab.program("misbehave", &[InOut, Scalar])).unwrap();
    chips.register("scale", lab.program("scale", &[InOut, Scalar])).unwrap();
    // On a busy machine one who sleeps comes sooner than one who looks around.
    small(Mode::Process, 0).chip_workers(chips).wait_strategy(WaitStrategy::Park).build().unwrap()
}

fn on(worker: u16) -> TaskOptions {
    TaskOptions::new().on(WorkerId(worker))
}

/// Runs one program on one worker.
fn run(exec: &Executor, callable: u64, scalar: u64, options: &TaskOptions) -> Result<f32, Error> {
    let x = exec.buffer::<f32>(1)?;
    x.copy_from_slice(&[7.0])?;
    exec.run(|orch| {
        let args = args().inout(&x).scalar(scalar);
        orch.submit_with(callable, args, CallConfig::default(), options).map(drop)
    })?;
    Ok(x.to_vec().unwrap()[0])
}

#[track_caller]
fn died(result: Result<f32, Error>, worker: u16, says: &[&str]) -> TaskFailure {
    let failure = failed_as(result, FailureKind::WorkerDied);
    assert_eq!(failure.worker, Some(WorkerId(worker)), "{failure}");
    let shown = failure.to_string();
    for part in says {
        assert!(shown.contains(part), "{shown} lacks {part}");
    }
    failure
}

/// A kernel of one task ends the process; a new one takes the device, and the next task works.
pub(crate) fn a_kernel_crashes() {
    let lab = Lab::new();
    let exec = chips(&lab);
    for round in 1..=3 {
        let worker = (round % 2) as u16;
        let device = format!("device {}", 2 + worker);
        let began = Instant::now();
        let failure = died(run(&exec, 0, 100, &on(worker)), worker, &["SIGSEGV", &device]);
        assert!(began.elapsed() < BOUND);
        assert_eq!(failure.name, "misbehave");
        for worker in 0..2 {
            assert_eq!(run(&exec, 1, 3, &on(worker)).unwrap(), 21.0);
        }
        assert_eq!(exec.stats().deaths, round);
        eventually("a replacement", || exec.stats().respawns == round);
    }
}

/// The runtime itself dies, on one device and always; the other one goes on.
pub(crate) fn a_runtime_crashes_or_aborts() {
    for (fault, signal) in [("crash@3", "SIGSEGV"), ("abort@3", "SIGABRT")] {
        set("SIMCHIP_FAULT", fault);
        let lab = Lab::new();
        let exec = chips(&lab);
        for _ in 0..3 {
            died(run(&exec, 1, 3, &on(1)), 1, &[signal, "worker 1", "it had device 3"]);
            assert_eq!(run(&exec, 1, 3, &on(0)).unwrap(), 21.0);
        }
    }
}

/// A retried task runs on the replacement, or elsewhere.
pub(crate) fn a_retry_finds_another_device() {
    set("SIMCHIP_FAULT", "crash@2");
    let lab = Lab::new();
    let exec = chips(&lab);
    for _ in 0..5 {
        let options = TaskOptions::new().retries(60).snapshot();
        assert_eq!(run(&exec, 1, 3, &options).unwrap(), 21.0);
    }
    let failure =
        failed_as(run(&exec, 1, 3, &on(0).retries(2).snapshot()), FailureKind::WorkerDied);
    assert_eq!(failure.attempt, 3);
}

/// A call that never returns is a passed deadline, which ends within a bound.
pub(crate) fn a_hang_is_a_passed_deadline() {
    set("SIMCHIP_FAULT", "hang@2");
    let lab = Lab::new();
    let exec = chips(&lab);
    for _ in 0..3 {
        let began = Instant::now();
        let options = on(0).deadline(Duration::from_millis(50));
        let failure = failed_as(run(&exec, 1, 3, &options), FailureKind::Deadline);
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        assert_eq!(failure.worker, Some(WorkerId(0)));
        assert!(failure.message.contains("device 2"), "{failure}");
        assert_eq!(run(&exec, 1, 3, &on(1)).unwrap(), 21.0);
    }
}

/// An executor that is dropped while a chip hangs ends.
pub(crate) fn a_hang_does_not_keep_the_executor() {
    set("SIMCHIP_FAULT", "hang");
    let lab = Lab::new();
    let exec = chips(&lab);
    let x = exec.buffer::<f32>(1).unwrap();
    let handle = exec.submit_run(|orch| {
        orch.submit(1, args().inout(&x).scalar(1), CallConfig::default()).map(drop)
    });
    eventually("a worker inside", || (0..2).any(|worker| exec.is_busy(WorkerId(worker))));
    let began = Instant::now();
    drop(exec);
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    drop(handle);
}

/// An idle chip worker is killed: its replacement takes the device again.
pub(crate) fn an_idle_chip_worker_is_replaced() {
    let lab = Lab::new();
    let exec = chips(&lab);
    let pids = exec.worker_pids();
    kill(pids[1] as i32, libc::SIGKILL);
    eventually("a replacement", || exec.stats().respawns == 1);
    assert_eq!(run(&exec, 1, 3, &on(1)).unwrap(), 21.0);
    assert_ne!(exec.worker_pids()[1], pids[1]);
    assert_eq!(exec.worker_pids()[0], pids[0]);
}

/// A slow chip is not a dead one.
pub(crate) fn slow_is_not_dead() {
    set("SIMCHIP_FAULT", "slow=100");
    let lab = Lab::new();
    let exec = chips(&lab);
    let began = Instant::now();
    assert_eq!(run(&exec, 1, 3, &on(0).deadline(Duration::from_secs(20))).unwrap(), 21.0);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(exec.stats().deaths, 0);
}

/// Nobody hears of a device that does not let go, once all tasks are done; and nothing is left.
pub(crate) fn a_failing_finalize_does_not_matter() {
    set("SIMCHIP_FAULT", "finalize=-3");
    let lab = Lab::new();
    let exec = chips(&lab);
    assert_eq!(run(&exec, 1, 3, &on(0)).unwrap(), 21.0);
    let began = Instant::now();
    drop(exec);
    assert!(began.elapsed() < BOUND);
}
