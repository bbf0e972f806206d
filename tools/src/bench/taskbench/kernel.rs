//! What a task computes: fused multiplications and additions in registers, as often as it is told.
//! It touches no memory, so its time says nothing about anything but the processor.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use crate::stats::median_of;

/// Numbers that are multiplied and added to side by side: enough to keep the units busy.
const LANES: usize = 32;
/// All numbers come closer and closer to 1.
const FACTOR: f64 = 0.999_755_859_375;
const SUMMAND: f64 = 1.0 - FACTOR;

/// Computes; the result is of no use to anybody.
#[inline]
pub(super) fn kernel(iterations: u64) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both.
        black_box(unsafe { fused(iterations) });
        return;
    }
    black_box(plain(iterations));
}

/// The same in registers of four numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,fma")]
fn fused(iterations: u64) -> f64 {
    use std::arch::x86_64::{_mm256_cvtsd_f64, _mm256_fmadd_pd, _mm256_set1_pd};
    let (factor, summand) = (_mm256_set1_pd(FACTOR), _mm256_set1_pd(SUMMAND));
    // Each of its own, or one would do for all.
    let mut all = [(); LANES / 4].map(|()| _mm256_set1_pd(black_box(1.5)));
    for _ in 0..iterations {
        for x in &mut all {
            *x = _mm256_fmadd_pd(*x, factor, summand);
        }
    }
    all.into_iter().map(|x| _mm256_cvtsd_f64(x)).sum()
}

fn plain(iterations: u64) -> f64 {
    let mut all: [f64; LANES] = [(); LANES].map(|()| black_box(1.5));
    for _ in 0..iterations {
        for x in &mut all {
            // Without the instruction `mul_add` would be a call.
            *x = if cfg!(target_arch = "aarch64") {
                x.mul_add(FACTOR, SUMMAND)
            } else {
                *x * FACTOR + SUMMAND
            };
        }
    }
    all.into_iter().sum()
}

/// Nanoseconds of an iteration while a thread on each of the processors does nothing else, in the
/// middle of several tries of some milliseconds: what the machine has to give just now. Every system
/// of a round is compared with it.
pub(super) fn rate(processors: usize) -> f64 {
    const ITERATIONS: u64 = 2_000_000;
    const TRIES: usize = 5;
    let all_there = &Barrier::new(processors);
    let timed = move || {
        let mut times = Vec::with_capacity(TRIES);
        for _ in 0..TRIES {
            all_there.wait();
            let begin = Instant::now();
            kernel(black_box(ITERATIONS));
            all_there.wait(); // the last of them counts, as in a system
            times.push(begin.elapsed().as_nanos() as u64);
        }
        median_of(&mut times) as f64 / ITERATIONS as f64
    };
    std::thread::scope(|scope| {
        (1..processors).for_each(|_| drop(scope.spawn(timed)));
        timed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_come_close_to_one() {
        let close = |sum: f64, lanes: f64| {
            assert!((sum / lanes - 1.0).abs() < 1e-6, "{sum}");
        };
        close(plain(100_000), LANES as f64);
        assert!(plain(10) > 1.4 * LANES as f64);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma")
        {
            // SAFETY: the processor has both.
            close(unsafe { fused(100_000) }, (LANES / 4) as f64);
        }
    }

    #[test]
    fn twice_the_iterations_take_longer() {
        let best = |iterations| {
            let one = |_| {
                let begin = Instant::now();
                kernel(iterations);
                begin.elapsed()
            };
            (0..20).map(one).min()
        };
        assert!(best(40_000) > best(10_000));
        assert!(rate(2) > 0.0);
    }
}
