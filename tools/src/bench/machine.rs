//! The machine that figures are of, and what else it does.

use std::fs;

use crate::system::allowed_cpus;

/// What figures depend on.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) model: String,
    pub(super) processors: usize,
    pub(super) kernel: String,
    /// Processes that ran or wanted to, over the last minute.
    pub(super) load: f64,
}

impl Machine {
    pub(super) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            model: model_of(&read("/proc/cpuinfo")),
            processors: allowed_cpus().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN),
        }
    }
}

/// x86 names its model; aarch64 numbers implementer and part.
fn model_of(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name")
        .or_else(|| Some(format!("{} {}", field("CPU implementer")?, field("CPU part")?)))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// How the processors of submitter and worker lie to each other. On a virtual machine that may
/// change at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Near,
    Far,
}

/// A ping-pong below this is between processors that share a cache. In the middle between what is seen
/// of those (60 to 130 ns) and of others (180 ns and more), so that noise seldom crosses it.
const NEAR_NS: f64 = 160.0;

impl State {
    pub(super) const ALL: [Self; 2] = [Self::Near, Self::Far];

    /// By the ping-pong of two bare processes.
    pub(super) fn of(ping_pong_ns: f64) -> Self {
        if ping_pong_ns < NEAR_NS { Self::Near } else { Self::Far }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// How the processors have spent their time since the machine was started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// Zero where the system does not say.
    pub(super) fn now() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Self::default(), |text| Self::of(&text))
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice`, all processors in
    /// the first line. What guests use is in `user` as well.
    fn of(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, stolen] = ticks[..] else {
            return Self::default();
        };
        let busy = user + nice + system + irq + softirq;
        Self { busy, stolen, all: busy + idle + iowait + stolen }
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            stolen: self.stolen.saturating_sub(before.stolen),
            all: self.all.saturating_sub(before.all),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            busy: self.busy + other.busy,
            stolen: self.stolen + other.stolen,
            all: self.all + other.all,
        }
    }

    #[cfg(test)]
    pub(super) const ZERO: Self = Self::shares(0, 0, 0);

    #[cfg(test)]
    pub(super) const fn shares(busy: u64, stolen: u64, all: u64) -> Self {
        Self { busy, stolen, all }
    }

    pub(super) fn busy_percent(self) -> f64 {
        100.0 * self.busy as f64 / self.all.max(1) as f64
    }

    /// What the host of a virtual machine gave to others while somebody here wanted it.
    pub(super) fn stolen_percent(self) -> f64 {
        100.0 * self.stolen as f64 / self.all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_name() {
        let machine = Machine::here();
        assert!(machine.processors > 0 && !machine.kernel.is_empty() && !machine.model.is_empty());
        assert_eq!(model_of("model name\t: A Chip 9000\nother: 1\n"), "A Chip 9000");
        assert_eq!(model_of("CPU implementer : 0x41\nCPU part : 0xd40\n"), "0x41 0xd40");
        assert_eq!(model_of(""), "unknown");
    }

    #[test]
    fn ticks_are_shares_of_what_has_passed() {
        let before = Ticks::of("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3");
        let after = Ticks::of("cpu  130 0 110 850 0 0 0 10 0 0");
        let passed = after.since(before);
        assert_eq!(passed.busy_percent(), 40.0);
        assert_eq!(passed.stolen_percent(), 10.0);
        assert_eq!(passed.and(passed).busy_percent(), 40.0);
        assert_eq!(Ticks::of("nonsense"), Ticks::default());
        assert_eq!(Ticks::default().busy_percent(), 0.0);
    }
}
