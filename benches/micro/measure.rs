//! How long something takes that takes nanoseconds: so many in a row that a clock can tell, again
//! and again, and the median.

use std::error::Error;
use std::time::{Duration, Instant};

/// What one name may take, and what one reading of the clock is to cover.
const TIME: Duration = Duration::from_millis(400);
const SAMPLE: Duration = Duration::from_micros(200);

pub(crate) struct Bench {
    /// Only names with one of these in them; all, if there are none.
    filters: Vec<String>,
    failed: Vec<String>,
}

impl Bench {
    /// As `cargo bench -- FILTER` calls it: with `--bench` added.
    pub(crate) fn from_arguments() -> Self {
        let filters = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
        println!("{:<58} {:>10} {:>10} {:>10}", "nanoseconds", "median", "p1", "p99");
        Self { filters, failed: Vec::new() }
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Something short.
    pub(crate) fn each(&mut self, name: &str, mut run: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let mut timed = |times: usize| {
            let begin = Instant::now();
            (0..times).for_each(|_| run());
            begin.elapsed()
        };
        let mut times = 1;
        while timed(times) < SAMPLE {
            times *= 2;
        }
        let (begin, mut samples) = (Instant::now(), Vec::new());
        while begin.elapsed() < TIME {
            samples.push(timed(times).as_nanos() as f64 / times as f64);
        }
        report(name, &mut samples);
    }

    /// Something that takes its own time, in nanoseconds.
    pub(crate) fn batches<E: Error>(&mut self, name: &str, run: impl Fn() -> Result<f64, E>) {
        if !self.wants(name) {
            return;
        }
        let (begin, mut samples) = (Instant::now(), Vec::new());
        while begin.elapsed() < TIME {
            match run() {
                Ok(time) => samples.push(time),
                Err(error) => {
                    println!("{name:<58} FAILED: {error}");
                    return self.failed.push(name.to_owned());
                }
            }
        }
        // The first one warms up.
        report(name, &mut samples[1..]);
    }

    pub(crate) fn end(self) -> Result<(), Box<dyn Error>> {
        if self.failed.is_empty() { Ok(()) } else { Err(self.failed.join(", ").into()) }
    }
}

fn report(name: &str, samples: &mut [f64]) {
    samples.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let last = samples.len().saturating_sub(1) as f64;
        samples.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
    };
    println!("{name:<58} {:>10.1} {:>10.1} {:>10.1}", at(0.5), at(0.01), at(0.99));
}
