//! tokio: an asynchronous runtime of one thread. A task is a future on the heap.

use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::super::run::Measured;
use super::Peer;
use crate::system::pin;

pub(super) struct Tokio(Runtime);

impl Tokio {
    pub(super) fn new(there: usize) -> Measured<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).on_thread_start(move || pin(&[there]));
        Ok(Self(builder.build()?))
    }
}

impl Peer for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn round_trips(&self, trips: usize) -> Vec<u64> {
        let trip = |_| {
            let begin = Instant::now();
            // It does not panic and is not cancelled.
            let _ = self.0.block_on(self.0.spawn(async {}));
            begin.elapsed().as_nanos() as u64
        };
        (0..trips).map(trip).collect()
    }

    fn independent(&self, tasks: usize) -> f64 {
        async fn run(tasks: usize) {
            let all: Vec<JoinHandle<()>> = (0..tasks).map(|_| tokio::spawn(async {})).collect();
            for one in all {
                let _ = one.await;
            }
        }
        let measured = self.0.spawn(async move {
            run(tasks / 16).await;
            let begin = Instant::now();
            run(tasks).await;
            begin.elapsed().as_nanos() as f64 / tasks as f64
        });
        self.0.block_on(measured).unwrap_or(f64::NAN)
    }

    fn chain(&self, tasks: usize) -> f64 {
        fn next(left: usize, last: std::sync::mpsc::Sender<()>) {
            tokio::spawn(async move {
                if left == 0 {
                    let _ = last.send(());
                } else {
                    next(left - 1, last);
                }
            });
        }
        let run = |tasks: usize| {
            let (last, wait) = std::sync::mpsc::channel();
            self.0.block_on(async { next(tasks, last) });
            let _ = wait.recv();
        };
        run(tasks / 16);
        let begin = Instant::now();
        run(tasks);
        begin.elapsed().as_nanos() as f64 / tasks as f64
    }
}
