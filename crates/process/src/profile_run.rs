//! One run in the log of a profile (`docs/profile-log.md`): its id, its times, its first line and its
//! last one, which flows and executors have in common.

use std::fmt::Display;

use crate::clock::monotonic_ns;
use crate::json_lines::{Epoch, Line};

/// The version of the format.
const VERSION: u32 = 1;

/// A run that has begun.
#[derive(Debug)]
pub struct ProfileRun {
    id: String,
    epoch: Epoch,
    began: u64,
}

/// What became of the calls of a run.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are those of the log")]
pub struct Totals {
    pub submitted: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub retried: u64,
    pub served: u64,
    pub bypassed: u64,
}

impl ProfileRun {
    /// Begins a run now.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let (epoch, began) = (Epoch::now(), monotonic_ns());
        // Distinct for each run of each process of a host, and very likely for those of others.
        let seed = epoch.micros(began) ^ u64::from(std::process::id()) << 32;
        let id = (seed ^ began.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        Self { id: format!("{id:012x}"), epoch, began }
    }

    /// 12 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A time of the monotonic clock, in microseconds since 1970.
    pub fn micros(&self, monotonic_ns: u64) -> u64 {
        self.epoch.micros(monotonic_ns)
    }

    /// The first line. `workers` is JSON.
    pub fn header(&self, out: &mut String, mode: &str, workers: impl Display) {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let program = std::env::args_os().next().unwrap_or_default();
        Line::new(out, "run", self.micros(self.began))
            .raw("version", VERSION)
            .text("run", &self.id)
            .text("host", &host.to_string_lossy())
            .raw("pid", std::process::id())
            .text("program", &program.to_string_lossy())
            .text("mode", mode)
            .raw("workers", workers)
            .text("mailring", env!("CARGO_PKG_VERSION"));
    }

    /// The last line.
    pub fn end(&self, out: &mut String, totals: &Totals) {
        let Totals { submitted, completed, failed, cancelled, retried, served, bypassed } = totals;
        let now = monotonic_ns();
        Line::new(out, "run_end", self.micros(now))
            .text("run", &self.id)
            .raw(
                "totals",
                format_args!(
                    "{{\"submitted\":{submitted},\"completed\":{completed},\"failed\":{failed},\"cancelled\":{cancelled},\"retried\":{retried},\"served\":{served},\"bypassed\":{bypassed}}}"
                ),
            )
            .seconds("seconds", now.saturating_sub(self.began) / 1000);
    }
}
