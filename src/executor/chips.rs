//! Executors whose NEXT_LEVEL workers drive chips.

use std::sync::Arc;

use super::builder::{Builder, Service};
use super::callable_names::CallableNames;
use crate::chip::{ChipRuntime, ChipWorker};
use crate::ids::{Callable, WorkerKind};
use crate::worker::Worker;

impl Builder {
    /// NEXT_LEVEL workers that drive chips: one for each device of `runtime`, in that order, each
    /// in its own process, where it loads the runtime and takes its device. The callables to
    /// submit are those of [`ChipRuntime::register`]. In THREAD mode there can be one device.
    #[must_use]
    pub fn chip_workers(self, runtime: ChipRuntime) -> Self {
        let devices = runtime.device_ids().to_vec();
        let service = Service {
            callables: Some(Arc::new(CallableNames::new(
                (0..).map(Callable).zip(runtime.program_names()),
            ))),
            beside: devices.iter().map(|device| format!("device {device}")).collect(),
            devices: Some(devices.clone()),
            factory: Arc::new(move |worker| {
                // NEXT_LEVEL workers come first, so theirs are the numbers from 0 on.
                let device = devices.get(usize::from(worker.0)).copied();
                let device = device.ok_or_else(|| format!("there is no device for {worker}"))?;
                Ok(Box::new(ChipWorker::start(&runtime, device)?) as Box<dyn Worker>)
            }),
        };
        let workers = service.beside.len();
        self.workers(workers).serve(WorkerKind::NextLevel, service)
    }
}
