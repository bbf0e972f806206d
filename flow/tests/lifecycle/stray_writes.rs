//! A worker that writes rubbish over the memory in which it and the others talk to the driver. The
//! driver must neither crash nor hang nor believe invalid data; what a task returns meanwhile is
//! a value or an error.

use std::time::{Duration, Instant};

use mailring::flow::{Error, Flow, ObjectRef, node};
use testkit::flow::flow;
use testkit::{Random, mix};

/// Where this process has the flow's control memory.
fn control() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:mailring-flow ")).unwrap();
    let (range, rest) = line.split_once(' ').unwrap();
    assert!(rest.starts_with("rw"), "{line}");
    let (from, to) = range.split_once('-').unwrap();
    let number = |text| usize::from_str_radix(text, 16).unwrap();
    (number(from), number(to))
}

/// Writes `count` random words into the parts that are in use: the front and the first processes.
#[node(max_retries = 0)]
fn scribble(seed: u64, count: u64) -> u64 {
    let (from, to) = control();
    let end = to.min(from + (1 << 20));
    let mut random = Random(seed);
    for _ in 0..count {
        let at = from + random.below((end - from) / 8) * 8;
        let word = match random.below(4) {
            0 => 0,
            1 => u64::MAX,
            // A cell's word with a phase that is one, and a number that may be.
            2 => ((random.next() % 64) << 4) | (random.next() % 7),
            _ => random.next(),
        };
        // SAFETY: mapped and aligned. That it is not ours to write is what is tested.
        unsafe { std::ptr::with_exposed_provenance_mut::<u64>(at).write_volatile(word) };
    }
    seed
}

#[node(max_retries = 0)]
fn honest(n: u64) -> u64 {
    mix(n)
}

#[node(max_retries = 0)]
fn asks(n: u64) -> Result<u64, Error> {
    honest::remote(&Flow::current()?, n)?.get()
}

pub(crate) fn rubbish_from_a_worker() {
    rubbish(1);
}

pub(crate) fn soak_rubbish_from_a_worker() {
    rubbish(10);
}

fn rubbish(rounds: u64) {
    let first = std::env::var("MAILRING_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or_else(|| mix(u64::from(std::process::id())));
    println!("MAILRING_SEED={first}");
    let begin = Instant::now();
    for round in 0..rounds {
        let flow = flow(3);
        let mut refs: Vec<ObjectRef<u64>> = Vec::new();
        for n in 0..40 {
            refs.push(honest::remote(&flow, n).unwrap());
            if n % 10 == 0 {
                let seed = first.wrapping_add(round * 100 + n);
                refs.push(scribble::remote(&flow, seed, 20_000u64).unwrap());
            }
            // What it asks may be lost without a trace; then nobody but a clock can end it.
            let limit = Duration::from_secs(2);
            refs.push(asks::options().deadline(limit).remote(&flow, n).unwrap());
        }
        for one in &refs {
            let result = one.get_timeout(Duration::from_secs(20));
            let late = matches!(result, Err(Error::Timeout(..)));
            assert!(!late, "round {round}: {result:?} {:?} {:#?}", flow.pending(one), flow.tasks());
        }
        drop(refs);
        drop(flow);
    }
    println!("{:?}", begin.elapsed());
}
