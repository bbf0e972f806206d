//! Random graphs against a sequential run of the same graph: every byte must be the same.
//!
//! `MAILRING_GRAPHS` says how many are drawn in all; `MAILRING_SEED` replays one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mailring::{Hazards, Mode};
use testkit::BOTH;
use testkit::graphs::{Bench, Deaths, Kind};

testkit::tests! {
    "random_graphs" in crate {
        one_worker, two_workers, three_workers, four_workers, in_a_small_window,
        compatible_whole_blocks, with_kills, replayed, replayed_in_a_small_window,
        replayed_compatible, replayed_with_kills, soak_more_graphs_of_each_kind,
    }
}

/// All graphs of this process.
static GRAPHS: AtomicU64 = AtomicU64::new(3_000);

fn soak_more_graphs_of_each_kind() {
    GRAPHS.store(20_000, Relaxed);
    one_worker();
    two_workers();
    three_workers();
    four_workers();
    in_a_small_window();
    compatible_whole_blocks();
    with_kills();
    replayed();
    replayed_in_a_small_window();
    replayed_compatible();
    replayed_with_kills();
}

/// `share` of a hundred of all graphs, half of them in each mode.
fn check_many(share: u64, first: u64, kind: Kind) {
    check_each(share, first, kind, Bench::check);
}

fn check_each(share: u64, first: u64, kind: Kind, check: fn(&Bench, u64, Mode)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let modes = if kind.deaths == Deaths::Bodies { &BOTH[..1] } else { &BOTH[..] };
    for &mode in modes {
        let bench = Bench::new(kind, mode);
        if let Some(seed) = number("MAILRING_SEED") {
            (0..50).for_each(|_| check(&bench, seed, mode));
            continue;
        }
        let count = number("MAILRING_GRAPHS").unwrap_or(GRAPHS.load(Relaxed)) * share / 100;
        let from = first << 48 | (mode as u64) << 47;
        let began = Instant::now();
        for seed in from..from + count.div_ceil(modes.len() as u64) {
            check(&bench, seed, mode);
            assert!(began.elapsed() < Duration::from_secs(36_000));
        }
        println!("{mode:?}: {count} graphs in {:?}, {:?}", began.elapsed(), bench.exec.stats());
    }
}

const PLAIN: Kind =
    Kind { workers: 2, hazards: Hazards::Strict, window: 256, deaths: Deaths::Nobody };

fn one_worker() {
    check_many(15, 1, Kind { workers: 1, ..PLAIN });
}

fn two_workers() {
    check_many(20, 2, PLAIN);
}

fn three_workers() {
    check_many(20, 3, Kind { workers: 3, ..PLAIN });
}

fn four_workers() {
    check_many(20, 4, Kind { workers: 4, ..PLAIN });
}

fn in_a_small_window() {
    check_many(10, 5, Kind { workers: 3, window: 16, ..PLAIN });
}

/// The reference's tag table orders less, so the graphs drawn for it rest on less.
fn compatible_whole_blocks() {
    check_many(12, 6, Kind { workers: 3, hazards: Hazards::Compatible, ..PLAIN });
}

/// Bodies die before, or right after they have written everything.
fn with_kills() {
    check_many(3, 7, Kind { workers: 3, deaths: Deaths::Bodies, ..PLAIN });
}

fn replayed() {
    check_each(8, 8, Kind { workers: 3, ..PLAIN }, Bench::check_replay);
}

fn replayed_in_a_small_window() {
    check_each(5, 9, Kind { workers: 3, window: 16, ..PLAIN }, Bench::check_replay);
}

fn replayed_compatible() {
    let kind = Kind { workers: 3, hazards: Hazards::Compatible, ..PLAIN };
    check_each(4, 10, kind, Bench::check_replay);
}

fn replayed_with_kills() {
    let kind = Kind { workers: 3, deaths: Deaths::Bodies, ..PLAIN };
    check_each(1, 11, kind, Bench::check_replay);
}
