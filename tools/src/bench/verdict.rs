//! Whether the figures of a run may be judged: on a machine that does other things as well, they
//! say more about those.

use serde_json::{Value, json};

use super::figures::Figures;
use super::machine::{State, Ticks};
use super::section::{Figure, Section, Target};
use crate::stats::Summary;

/// Share of all processors that others may use while nothing is measured.
const NEIGHBOURS_PERCENT: f64 = 10.0;
/// Share of all processors that the host of a virtual machine may give to others.
const STOLEN_PERCENT: f64 = 2.0;
/// Middle half of the ping-pongs, over their median.
const FLOOR_SPREAD: f64 = 0.3;

/// What was seen beside the figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// All processors while nothing was measured.
    pub(super) between: Ticks,
    /// All processors over the whole run.
    pub(super) whole: Ticks,
}

#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) state: State,
    /// The median ping-pong.
    pub(super) floor_ns: f64,
    /// Why nothing is judged; empty if it is.
    pub(super) reasons: Vec<String>,
}

/// What becomes of a figure that has a target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Judged {
    Met(f64),
    Missed(f64),
    /// The machine was too noisy.
    Not(f64),
}

impl Verdict {
    pub(super) fn of(figures: &Figures, seen: Seen) -> Self {
        let floors = figures.floors();
        let floor = Summary::of(&floors);
        let floor_ns = floor.map_or(f64::NAN, |floor| floor.median);
        let state = State::of(floor_ns);
        let mut reasons = Vec::new();
        let mut say = |too_much: bool, why: String| {
            if too_much {
                reasons.push(why);
            }
        };
        let neighbours = seen.between.busy_percent();
        say(
            neighbours > NEIGHBOURS_PERCENT,
            format!("other programs used {neighbours:.0} % of the processors"),
        );
        let stolen = seen.whole.stolen_percent();
        say(stolen > STOLEN_PERCENT, format!("the host took {stolen:.1} % of the processors away"));
        for state in State::ALL {
            let rounds: Vec<_> =
                floors.iter().copied().filter(|&ns| State::of(ns) == state).collect();
            let Some(Summary { spread, count, .. }) = Summary::of(&rounds) else { continue };
            say(
                count >= floors.len() / 3 && spread > FLOOR_SPREAD,
                format!(
                    "half of the ping-pongs lie {:.0} % apart ({})",
                    100.0 * spread,
                    state.name()
                ),
            );
        }
        Self { state, floor_ns, reasons }
    }

    pub(super) fn is_judged(&self) -> bool {
        self.reasons.is_empty()
    }

    /// What becomes of a figure in each state that it was measured in. Empty for one without a
    /// target there.
    pub(super) fn judge(
        &self,
        figures: &Figures,
        section: &Section,
        figure: &Figure,
    ) -> Vec<(State, Summary, Judged)> {
        let Some(Target { near, far }) = figure.target else { return Vec::new() };
        let states = figures.by_state(section, figure, self.state);
        let judged = states.into_iter().filter_map(|(state, summary)| {
            let most = match state {
                State::Near => near,
                State::Far => far,
            }?;
            let judged = match (self.is_judged(), summary.median <= most) {
                (false, _) => Judged::Not(most),
                (true, true) => Judged::Met(most),
                (true, false) => Judged::Missed(most),
            };
            Some((state, summary, judged))
        });
        judged.collect()
    }

    pub(super) fn json(&self, figures: &Figures) -> Value {
        let (mut met, mut missed) = (Vec::new(), Vec::new());
        for (section, figure, _) in figures.all() {
            let judged = self.judge(figures, section, figure);
            if judged.iter().any(|(.., judged)| matches!(judged, Judged::Missed(_))) {
                missed.push(figure.key);
            } else if judged.iter().any(|(.., judged)| matches!(judged, Judged::Met(_))) {
                met.push(figure.key);
            }
        }
        json!({
            "judged": self.is_judged(),
            "state": self.state.name(),
            "reasons": self.reasons,
            "met": met,
            "missed": missed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{SECTION, figures};
    use super::*;

    const QUIET: Seen = Seen { between: Ticks::ZERO, whole: Ticks::ZERO };

    fn ratio() -> &'static Figure {
        SECTION.figures.iter().find(|figure| figure.key == "ratio_trip").expect("it is there")
    }

    fn judged(verdict: &Verdict, figures: &Figures) -> Vec<(State, Judged)> {
        let all = verdict.judge(figures, &SECTION, ratio());
        all.into_iter().map(|(state, _, judged)| (state, judged)).collect()
    }

    #[test]
    fn a_quiet_machine_is_judged_by_the_target_of_its_state() {
        for (floor, trip, expected) in [
            (100.0, 200.0, (State::Near, Judged::Met(2.2))),
            (100.0, 230.0, (State::Near, Judged::Missed(2.2))),
            (370.0, 400.0, (State::Far, Judged::Met(1.5))),
            (370.0, 740.0, (State::Far, Judged::Missed(1.5))),
        ] {
            let figures = figures(&[floor - 1.0, floor, floor + 1.0], &[trip; 3]);
            let verdict = Verdict::of(&figures, QUIET);
            assert!(verdict.is_judged() && verdict.state == expected.0, "{verdict:?}");
            assert_eq!(judged(&verdict, &figures), [expected]);
            assert_eq!(
                verdict.judge(&figures, &SECTION, &SECTION.figures[1]).len(),
                0,
                "no target"
            );
        }
    }

    #[test]
    fn a_machine_that_changes_its_state_is_judged_in_both() {
        let figures = figures(
            &[100.0, 101.0, 99.0, 370.0, 372.0, 371.0],
            &[200.0, 200.0, 200.0, 740.0, 740.0, 740.0],
        );
        let verdict = Verdict::of(&figures, QUIET);
        let expected = [(State::Near, Judged::Met(2.2)), (State::Far, Judged::Missed(1.5))];
        assert_eq!(judged(&verdict, &figures), expected);
        assert_eq!(verdict.json(&figures)["missed"], json!(["ratio_trip"]));
    }

    #[test]
    fn a_noisy_machine_is_not_judged() {
        let quiet = || figures(&[100.0; 4], &[200.0; 4]);
        let busy = Ticks::shares(20, 0, 100);
        let stolen = Ticks::shares(0, 5, 100);
        for (figures, seen, why) in [
            (quiet(), Seen { between: busy, whole: busy }, "other programs used 20 %"),
            (quiet(), Seen { between: stolen, whole: stolen }, "took 5.0 %"),
            (figures(&[100.0, 150.0, 110.0, 155.0], &[200.0; 4]), QUIET, "apart (near)"),
        ] {
            let verdict = Verdict::of(&figures, seen);
            assert!(verdict.reasons.iter().any(|r| r.contains(why)), "{why}: {verdict:?}");
            assert_eq!(judged(&verdict, &figures), [(State::Near, Judged::Not(2.2))]);
            let json = verdict.json(&figures);
            assert_eq!(json["judged"], false);
            assert_eq!((&json["met"], &json["missed"]), (&json!([]), &json!([])));
        }
    }
}
