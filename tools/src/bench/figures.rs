//! The figures of `mailring bench`: names, meanings, and how they are shown.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::stats::{Spread, number, time};

/// What a figure is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Ns,
    Us,
    Ms,
    PerSecond,
    Percent,
    Ratio,
}

/// A figure that the bench can produce.
struct Entry {
    key: &'static str,
    unit: Unit,
    /// What it says in the report.
    label: &'static str,
    /// What it says in the help, if the label is not enough.
    meaning: &'static str,
}

const fn entry(key: &'static str, unit: Unit, label: &'static str, meaning: &'static str) -> Entry {
    Entry { key, unit, label, meaning }
}

/// All figures, by section, in the order of the report.
const SECTIONS: &[(&str, &[Entry])] = &[
    (
        "floor",
        &[entry(
            "floor_pingpong_ns",
            Unit::Ns,
            "ping-pong of two bare processes",
            "one cache line there and back",
        )],
    ),
    (
        "process mode",
        &[
            entry("process.rtt_ns", Unit::Ns, "round trip of one task", "submit, run, wait"),
            entry("ratio_rtt", Unit::Ratio, "", "process.rtt_ns / floor_pingpong_ns"),
            entry("process.independent_ns", Unit::Ns, "independent task", "wall time / tasks"),
            entry(
                "ratio_independent",
                Unit::Ratio,
                "",
                "process.independent_ns / floor_pingpong_ns",
            ),
            entry(
                "process.independent_per_s",
                Unit::PerSecond,
                "independent tasks a second",
                "1e9 / independent_ns",
            ),
            entry(
                "process.chain_ns",
                Unit::Ns,
                "chained task",
                "wall time / tasks, each waits for the one before",
            ),
            entry("ratio_chain", Unit::Ratio, "", "process.chain_ns / floor_pingpong_ns"),
        ],
    ),
    (
        "thread mode",
        &[
            entry("thread.rtt_ns", Unit::Ns, "round trip of one task", "as in process mode"),
            entry("ratio_thread_rtt", Unit::Ratio, "", "thread.rtt_ns / floor_pingpong_ns"),
            entry("thread.independent_ns", Unit::Ns, "independent task", "as in process mode"),
            entry(
                "ratio_thread_independent",
                Unit::Ratio,
                "",
                "thread.independent_ns / floor_pingpong_ns",
            ),
            entry(
                "thread.independent_per_s",
                Unit::PerSecond,
                "independent tasks a second",
                "1e9 / independent_ns",
            ),
            entry("thread.chain_ns", Unit::Ns, "chained task", "as in process mode"),
            entry("ratio_thread_chain", Unit::Ratio, "", "thread.chain_ns / floor_pingpong_ns"),
        ],
    ),
    (
        "arguments of a chip runtime",
        &[
            entry(
                "chip_args_full_ns",
                Unit::Ns,
                "the whole block",
                "1672 bytes copied, as a structure passed by value",
            ),
            entry(
                "chip_args_used_ns",
                Unit::Ns,
                "2 tensors, 1 scalar (/ whole block)",
                "view_to_chip_storage, which writes what is in use",
            ),
            entry("ratio_chip_args", Unit::Ratio, "", "chip_args_used_ns / chip_args_full_ns"),
        ],
    ),
    (
        "the C interface (ratios are to Rust in process mode, in turns)",
        &[
            entry("c.rtt_ns", Unit::Ns, "round trip of one task", "as in process mode, from C"),
            entry("ratio_c_rtt", Unit::Ratio, "", "c.rtt_ns / the same from Rust"),
            entry("c.independent_ns", Unit::Ns, "independent task", "as in process mode, from C"),
            entry("ratio_c_independent", Unit::Ratio, "", "c.independent_ns / from Rust"),
            entry("c.chain_ns", Unit::Ns, "chained task", "as in process mode, from C"),
            entry("ratio_c_chain", Unit::Ratio, "", "c.chain_ns / from Rust"),
            entry(
                "c.args_call_ns",
                Unit::Ns,
                "call on task arguments",
                "clear, two tensors, a scalar: time / 4",
            ),
            entry(
                "c.args_call_two_threads_ns",
                Unit::Ns,
                "the same on two threads (/ one)",
                "each with arguments of its own",
            ),
            entry(
                "ratio_c_two_threads",
                Unit::Ratio,
                "",
                "c.args_call_two_threads_ns / c.args_call_ns",
            ),
        ],
    ),
    (
        "typed tasks (ratios are to the same without types, in turns)",
        &[
            entry(
                "typed.submit_ns",
                Unit::Ns,
                "submit of a task",
                "2 buffers and a scalar, until spawn returns",
            ),
            entry("ratio_typed_submit", Unit::Ratio, "", "typed.submit_ns / submit of TaskArgs"),
            entry(
                "typed.add_ns",
                Unit::Ns,
                "adding two vectors of 4096 f64",
                "inside a body, slices of In and Out",
            ),
            entry("ratio_typed_add", Unit::Ratio, "", "typed.add_ns / the same loop on Vecs"),
        ],
    ),
    (
        "flows (ratios are to the engine in process mode)",
        &[
            entry("flow.rtt_ns", Unit::Ns, "a call and its value", "remote, then get, of a no-op"),
            entry("ratio_flow_rtt", Unit::Ratio, "", "flow.rtt_ns / process.rtt_ns"),
            entry("flow.chain_ns", Unit::Ns, "chained call", "wall time / tasks, each takes a ref"),
            entry("ratio_flow_chain", Unit::Ratio, "", "flow.chain_ns / process.chain_ns"),
            entry(
                "flow.in_flight_ns",
                Unit::Ns,
                "call, 100,000 in flight",
                "wall time / calls, all made before the first get",
            ),
            entry("flow_cancel_us", Unit::Us, "cancel of a queued task", "until cancel returns"),
            entry(
                "flow.hand_over_us",
                Unit::Us,
                "64 MiB taken by a node",
                "a call and its value, with a ref to 64 MiB as argument",
            ),
        ],
    ),
    (
        "death of a worker",
        &[
            entry(
                "death_notice_busy_ms",
                Unit::Ms,
                "noticed, inside a body",
                "from SIGKILL to the supervisor's notice",
            ),
            entry(
                "death_notice_idle_ms",
                Unit::Ms,
                "noticed, asleep",
                "the same for an idle worker",
            ),
            entry(
                "respawn_ms",
                Unit::Ms,
                "replaced and working",
                "from SIGKILL until the replacement has run a task",
            ),
        ],
    ),
    (
        "idle",
        &[
            entry(
                "idle_cpu_percent",
                Unit::Percent,
                "process mode, of one core",
                "workers, fork server and host threads",
            ),
            entry(
                "thread.idle_cpu_percent",
                Unit::Percent,
                "thread mode, of one core",
                "workers and host threads",
            ),
        ],
    ),
];

/// Measurements, several for each figure.
#[derive(Default)]
pub(super) struct Figures {
    measured: Vec<(&'static str, Vec<f64>)>,
}

impl Figures {
    /// Adds a measurement. The key is one of [`SECTIONS`].
    pub(super) fn add(&mut self, key: &str, value: f64) {
        let mut known = SECTIONS.iter().flat_map(|(_, entries)| *entries);
        let Some(entry) = known.find(|entry| entry.key == key) else {
            debug_assert!(false, "{key} is not a figure");
            return;
        };
        match self.measured.iter_mut().find(|(known, _)| *known == entry.key) {
            Some((_, values)) => values.push(value),
            None => self.measured.push((entry.key, vec![value])),
        }
    }

    fn get(&self, key: &str) -> Option<Spread> {
        let (_, values) = self.measured.iter().find(|(known, _)| *known == key)?;
        Spread::of(values)
    }

    /// Every figure under its key, with `_min` and `_max` beside it.
    pub(super) fn json(&self) -> Value {
        let mut map = Map::new();
        for (key, _) in &self.measured {
            let Some(Spread { median, min, max }) = self.get(key) else { continue };
            map.insert((*key).to_owned(), median.into());
            map.insert(format!("{key}_min"), min.into());
            map.insert(format!("{key}_max"), max.into());
        }
        Value::Object(map)
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "  {:<36} {:>12}   {:<24} {:>8}", "", "median", "min .. max", "/ floor")?;
        for (title, entries) in SECTIONS {
            if !entries.iter().any(|entry| self.get(entry.key).is_some()) {
                continue;
            }
            writeln!(out, "  {title}")?;
            for (at, entry) in entries.iter().enumerate() {
                let Some(Spread { median, min, max }) = self.get(entry.key) else { continue };
                if entry.unit == Unit::Ratio {
                    continue;
                }
                let show = |value| entry.unit.show(value);
                let range = format!("{} .. {}", show(min), show(max));
                // The ratio of a figure is the next entry, and stands in the same line.
                let ratio = entries.get(at + 1).filter(|next| next.unit == Unit::Ratio);
                let ratio = ratio.and_then(|next| self.get(next.key));
                let ratio = ratio.map_or_else(String::new, |r| Unit::Ratio.show(r.median));
                let (label, median) = (entry.label, show(median));
                let line = format!("    {label:<34} {median:>12}   {range:<24} {ratio:>8}");
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Ns => time(value),
            Self::Us => time(value * 1e3),
            Self::Ms => time(value * 1e6),
            Self::PerSecond => format!("{} M", number(value / 1e6)),
            Self::Percent => format!("{} %", number(value)),
            Self::Ratio => format!("{}x", number(value)),
        }
    }
}

/// The keys of the JSON file, for the help.
pub(super) fn describe_keys() -> String {
    let mut out = String::new();
    for entry in SECTIONS.iter().flat_map(|(_, entries)| *entries) {
        let line = format!("  {:<28} {}", entry.key, entry.meaning);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_all_are_described() {
        let keys: Vec<_> =
            SECTIONS.iter().flat_map(|(_, entries)| *entries).map(|entry| entry.key).collect();
        let help = describe_keys();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key} twice");
            assert!(help.contains(key));
        }
    }

    #[test]
    fn json_is_flat_with_spreads() {
        let mut figures = Figures::default();
        for value in [3.0, 1.0, 2.0] {
            figures.add("process.rtt_ns", value);
        }
        let json = figures.json();
        assert_eq!(json["process.rtt_ns"], 2.0);
        assert_eq!(json["process.rtt_ns_min"], 1.0);
        assert_eq!(json["process.rtt_ns_max"], 3.0);
        assert!(figures.text().contains("2.00 ns"));
    }
}
