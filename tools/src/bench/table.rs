//! The report: a table of all figures, and what is said about them.

use std::fmt::{self, Write};

use super::figures::Figures;
use super::machine::Machine;
use super::raw::{Raw, Series};
use super::section::{Panel, Section, Unit};
use super::verdict::{Judged, Verdict};
use crate::stats::Summary;
use crate::words::{bytes, number, time};

pub(super) fn text(
    command: &str,
    machine: &Machine,
    figures: &Figures,
    verdict: &Verdict,
) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, command, machine, figures, verdict);
    out
}

fn write(
    out: &mut String,
    command: &str,
    machine: &Machine,
    figures: &Figures,
    verdict: &Verdict,
) -> fmt::Result {
    let Machine { model, processors, kernel, load } = machine;
    writeln!(out, "{command}")?;
    writeln!(out, "{model}, {processors} processors, Linux {kernel}, load {load:.2}")?;
    if verdict.floor_ns.is_finite() {
        writeln!(
            out,
            "{}: two bare processes pass a cache line there and back in {}",
            verdict.state.name(),
            time(verdict.floor_ns)
        )?;
    }
    let head = ("median", "p1 .. p99", "spread");
    writeln!(out, "\n  {:<44} {:>10}   {:<22} {:>6}  target", "", head.0, head.1, head.2)?;
    for (section, raw) in &figures.sections {
        section_rows(out, section, raw, figures, verdict)?;
    }
    let mut remarks: Vec<String> = figures.notes().cloned().collect();
    remarks.extend(figures.missing().map(|(what, why)| format!("missing: {what}: {why}")));
    remarks.extend(figures.failed.iter().map(|(name, why)| format!("FAILED: {name}: {why}")));
    if !verdict.is_judged() {
        remarks.push(format!("too noisy to judge: {}", verdict.reasons.join("; ")));
    }
    if !remarks.is_empty() {
        writeln!(out)?;
    }
    remarks.iter().try_for_each(|remark| writeln!(out, "{remark}"))
}

fn section_rows(
    out: &mut String,
    section: &Section,
    raw: &Raw,
    figures: &Figures,
    verdict: &Verdict,
) -> fmt::Result {
    writeln!(out, "{}", section.title)?;
    for figure in section.figures {
        let Some(summary) = figures.summary(section, figure) else { continue };
        // Ratios stand below what they are ratios of.
        let indent = if figure.unit == Unit::Ratio { "    " } else { "  " };
        let judged = verdict.judge(figures, section, figure);
        let label = format!("{indent}{}", figure.label);
        // Where the processors changed their places, each place has its own target.
        if let [_, _, ..] = judged[..] {
            row(out, &label, figure.unit, summary, "")?;
            for (state, summary, judged) in judged {
                let label = format!("{indent}  {}, {} rounds", state.name(), summary.count);
                row(out, &label, figure.unit, summary, &target(judged))?;
            }
        } else {
            let target = judged.first().map_or_else(String::new, |(.., judged)| target(*judged));
            row(out, &label, figure.unit, summary, &target)?;
        }
    }
    for panel in section.panels {
        let series: Vec<_> = raw.series.iter().filter(|s| s.panel == panel.name).collect();
        if !series.is_empty() {
            panel_rows(out, panel, &series)?;
        }
    }
    Ok(())
}

fn row(out: &mut String, label: &str, unit: Unit, summary: Summary, target: &str) -> fmt::Result {
    let Summary { median, p1, p99, spread, .. } = summary;
    let show = |value| unit.show(value);
    let range = format!("{} .. {}", show(p1), show(p99));
    let (spread, median) = (format!("{:.0} %", 100.0 * spread), show(median));
    let line = format!("  {label:<44} {median:>10}   {range:<22} {spread:>6}  {target}");
    writeln!(out, "{}", line.trim_end())
}

fn target(judged: Judged) -> String {
    match judged {
        Judged::Met(most) => format!("<= {most}"),
        Judged::Missed(most) => format!("<= {most} MISSED"),
        Judged::Not(most) => format!("<= {most} not judged"),
    }
}

/// A plot as numbers: a line for each series, a column for each place.
fn panel_rows(out: &mut String, panel: &Panel, series: &[&Series]) -> fmt::Result {
    let mut places: Vec<f64> = Vec::new();
    for (x, _) in series.iter().flat_map(|s| &s.points) {
        if !places.contains(x) {
            places.push(*x);
        }
    }
    places.sort_unstable_by(f64::total_cmp);
    // More than that is for the plot.
    if places.len() > 8 {
        return Ok(());
    }
    writeln!(out, "    {}: {}, by {}", panel.title, panel.y.label, panel.x.label)?;
    write!(out, "      {:<34}", "")?;
    places.iter().try_for_each(|x| write!(out, " {:>9}", plain(*x)))?;
    writeln!(out)?;
    for line in series {
        write!(out, "      {:<34}", line.name)?;
        for place in &places {
            let found = line.points.iter().find(|(x, _)| x == place);
            let value = found.and_then(|(_, ys)| Summary::of(ys));
            let value = value.map_or_else(String::new, |summary| number(summary.median));
            write!(out, " {value:>9}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// 1000, 10 k, 10 M.
pub(super) fn plain(value: f64) -> String {
    match value {
        v if v >= 1e6 && v % 1e6 == 0.0 => format!("{} M", v / 1e6),
        v if v >= 1e4 && v % 1e3 == 0.0 => format!("{} k", v / 1e3),
        v if v % 1.0 == 0.0 => format!("{v}"),
        v => number(v),
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
            Self::Bytes => bytes(value),
            Self::Ratio => format!("{}x", number(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::super::machine::Ticks;
    use super::super::verdict::Seen;
    use super::*;

    #[test]
    fn the_report_has_figures_targets_and_what_is_missing() {
        let machine = Machine {
            model: "A Chip".to_owned(),
            processors: 2,
            kernel: "6.1".to_owned(),
            load: 0.25,
        };
        let seen = Seen { between: Ticks::ZERO, whole: Ticks::ZERO };
        let quiet = figures(&[100.0; 3], &[230.0; 3]);
        let report = text("bench", &machine, &quiet, &Verdict::of(&quiet, seen));
        for expected in [
            "A Chip, 2 processors, Linux 6.1, load 0.25\nnear: ",
            "there and back in 100 ns\n",
            "An example\n",
            "    round trip                                     230 ns   230 ns .. 230 ns",
            "      / ping-pong                                   2.30x   2.30x .. 2.30x            0 %  <= 2.2 MISSED\n",
            "    a second                                       4.35 M",
            "      chain                                   40.0      41.0      44.0\n",
            "missing: Taskflow: no header\n",
            "FAILED: other: why\n",
        ] {
            assert!(report.contains(expected), "{expected:?} is not in\n{report}");
        }
        assert!(!report.contains("never measured") && !report.contains("noisy"), "{report}");
        let noisy = figures(&[80.0, 158.0, 115.0], &[230.0; 3]);
        let report = text("bench", &machine, &noisy, &Verdict::of(&noisy, seen));
        assert!(report.contains("<= 2.2 not judged"), "{report}");
        assert!(report.contains("too noisy to judge: half of the ping-pongs"), "{report}");
        let both = figures(&[100.0, 100.0, 100.0, 370.0, 370.0, 370.0], &[200.0; 6]);
        let report = text("bench", &machine, &both, &Verdict::of(&both, seen));
        assert!(report.contains("        near, 3 rounds "), "{report}");
        assert!(report.contains("        far, 3 rounds "), "{report}");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(plain(1e3), "1000");
        assert_eq!(plain(1e4), "10 k");
        assert_eq!(plain(1e7), "10 M");
        assert_eq!(plain(1.5), "1.50");
    }
}
