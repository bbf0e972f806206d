//! rayon: a pool that steals. A task is a boxed closure in the deque of its thread.

use std::time::Instant;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use super::super::run::Measured;
use super::Peer;
use crate::system::pin;

pub(super) struct Rayon(ThreadPool);

impl Rayon {
    pub(super) fn new(there: usize) -> Measured<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| pin(&[there]));
        Ok(Self(pool.build()?))
    }
}

impl Peer for Rayon {
    fn name(&self) -> &'static str {
        "rayon"
    }

    fn round_trips(&self, trips: usize) -> Vec<u64> {
        let trip = |_| {
            let begin = Instant::now();
            self.0.install(|| ());
            begin.elapsed().as_nanos() as u64
        };
        (0..trips).map(trip).collect()
    }

    fn independent(&self, tasks: usize) -> f64 {
        let run = |tasks: usize| {
            rayon::scope(|scope| (0..tasks).for_each(|_| scope.spawn(|_| ())));
        };
        self.0.install(|| {
            run(tasks / 16);
            let begin = Instant::now();
            run(tasks);
            begin.elapsed().as_nanos() as f64 / tasks as f64
        })
    }

    fn chain(&self, tasks: usize) -> f64 {
        fn next(scope: &Scope<'_>, left: usize) {
            if left > 0 {
                scope.spawn(move |scope| next(scope, left - 1));
            }
        }
        self.0.install(|| {
            rayon::scope(|scope| next(scope, tasks / 16));
            let begin = Instant::now();
            rayon::scope(|scope| next(scope, tasks));
            begin.elapsed().as_nanos() as f64 / tasks as f64
        })
    }
}
