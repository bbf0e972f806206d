//! Random graphs while somebody kills workers wherever they are: in bodies, between them, while
//! they take, release, assemble groups or start. Nothing may be lost, done twice, or different by a
//! byte from the sequential run.
//!
//! `MAILRING_KILLS` says how many kills there are at least, in all; `MAILRING_SEED` runs one graph
//! again and again.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use mailring::{Hazards, Mode};
use testkit::graphs::{Bench, Deaths, Kind};
use testkit::{Random, eventually, kill};

testkit::tests! {
    "faults" in crate { three_workers, two_workers, in_a_small_window }
}

/// Kills of all tests together.
const KILLS: u64 = 2400;

const PLAIN: Kind =
    Kind { workers: 3, hazards: Hazards::Strict, window: 256, deaths: Deaths::Outside };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Stops the killer, also when the other side panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Kills a random worker every 1 to 10 ms; `share` of a hundred of all kills.
fn under_fire(share: u64, first: u64, kind: Kind) {
    let target = number("MAILRING_KILLS").unwrap_or(KILLS) * share / 100;
    let from = first << 48;
    println!("seeds from {from}, {target} kills");
    let bench = Bench::new(kind, Mode::Process);
    let (stop, kills) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let mut graphs = 0;
    std::thread::scope(|scope| {
        // Started after the build: the workers were forked from a process with one thread.
        scope.spawn(|| {
            let mut random = Random(from);
            while !stop.load(SeqCst) {
                std::thread::sleep(Duration::from_micros(1000 + random.next() % 9000));
                let pids = bench.exec.worker_pids();
                let pid = pids[random.below(pids.len())];
                if pid > 1 {
                    kill(pid as i32, libc::SIGKILL);
                    kills.fetch_add(1, SeqCst);
                }
            }
        });
        let _stop = Stop(&stop);
        while kills.load(SeqCst) < target {
            bench.check(number("MAILRING_SEED").unwrap_or(from + graphs), Mode::Process);
            graphs += 1;
        }
    });
    let kills = kills.load(SeqCst);
    println!(
        "{kills} kills, {graphs} graphs from seed {from} in {:?}: 0 lost, 0 duplicated",
        began.elapsed()
    );
    let stats = || bench.exec.stats();
    println!("{:?}", stats());
    // A worker killed twice dies once.
    eventually("every death is made good", || stats().deaths == stats().respawns);
    assert!(stats().deaths <= kills && stats().deaths >= kills / 2, "{:?}", stats());
    (0..20).for_each(|nth| bench.check(from | 1 << 47 | nth, Mode::Process));
}

fn three_workers() {
    under_fire(40, 1, PLAIN);
}

fn two_workers() {
    under_fire(30, 2, Kind { workers: 2, ..PLAIN });
}

fn in_a_small_window() {
    under_fire(30, 3, Kind { window: 16, ..PLAIN });
}
