//! Whether the figures of a run may be judged: on a machine that does other things as well, they
//! say more about those.

use serde_json::{Value, json};

use super::figures::Figures;
use super::machine::Ticks;
use super::section::{Figure, Target};
use crate::stats::Summary;

/// A ping-pong below this is between processors that share a cache.
const NEAR_NS: f64 = 200.0;
/// Share of all processors that others may use while nothing is measured.
const NEIGHBOURS_PERCENT: f64 = 10.0;
/// Share of all processors that the host of a virtual machine may give to others.
const STOLEN_PERCENT: f64 = 2.0;
/// Middle half of the ping-pongs, over their median.
const FLOOR_SPREAD: f64 = 0.3;

/// How the processors of submitter and worker lie to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Near,
    Far,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

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
        let state = if floor_ns < NEAR_NS { State::Near } else { State::Far };
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
        if let Some(floor) = floor {
            let near = floors.iter().filter(|&&ns| ns < NEAR_NS).count();
            let (near, all) = (near as f64, floors.len() as f64);
            say(
                near.min(all - near) > all / 10.0,
                format!("the processors were near in {near} rounds of {all}, far in the others"),
            );
            say(
                floor.spread > FLOOR_SPREAD,
                format!("half of the ping-pongs lie {:.0} % apart", 100.0 * floor.spread),
            );
        }
        Self { state, floor_ns, reasons }
    }

    pub(super) fn is_judged(&self) -> bool {
        self.reasons.is_empty()
    }

    /// `None` for a figure without a target for this state.
    pub(super) fn judge(&self, figure: &Figure, value: f64) -> Option<Judged> {
        let Target { near, far } = figure.target?;
        let most = match self.state {
            State::Near => near,
            State::Far => far,
        }?;
        Some(match (self.is_judged(), value <= most) {
            (false, _) => Judged::Not(most),
            (true, true) => Judged::Met(most),
            (true, false) => Judged::Missed(most),
        })
    }

    pub(super) fn json(&self, figures: &Figures) -> Value {
        let with = |want: fn(&Judged) -> bool| -> Vec<&str> {
            let judged = figures.all().filter_map(|(_, figure, summary)| {
                let judged = self.judge(figure, summary.median)?;
                want(&judged).then_some(figure.key)
            });
            judged.collect()
        };
        json!({
            "judged": self.is_judged(),
            "state": self.state.name(),
            "reasons": self.reasons,
            "met": with(|judged| matches!(judged, Judged::Met(_))),
            "missed": with(|judged| matches!(judged, Judged::Missed(_))),
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

    #[test]
    fn a_quiet_machine_is_judged_by_the_target_of_its_state() {
        let near = Verdict::of(&figures(&[100.0, 101.0, 99.0], &[200.0; 3]), QUIET);
        assert!(near.is_judged() && near.state == State::Near, "{near:?}");
        assert_eq!(near.judge(ratio(), 2.0), Some(Judged::Met(2.2)));
        assert_eq!(near.judge(ratio(), 2.3), Some(Judged::Missed(2.2)));
        let far = Verdict::of(&figures(&[370.0, 372.0, 368.0], &[700.0; 3]), QUIET);
        assert!(far.is_judged() && far.state == State::Far, "{far:?}");
        assert_eq!(far.judge(ratio(), 2.0), Some(Judged::Missed(1.5)));
        assert_eq!(far.judge(&SECTION.figures[1], 2.0), None, "it has no target");
    }

    #[test]
    fn a_noisy_machine_is_not_judged() {
        let quiet = || figures(&[100.0; 4], &[200.0; 4]);
        let busy = Ticks::shares(20, 0, 100);
        let stolen = Ticks::shares(0, 5, 100);
        for (figures, seen, why) in [
            (quiet(), Seen { between: busy, whole: busy }, "other programs used 20 %"),
            (quiet(), Seen { between: stolen, whole: stolen }, "took 5.0 %"),
            (figures(&[100.0, 370.0, 100.0, 100.0], &[200.0; 4]), QUIET, "near in 3 rounds of 4"),
            (figures(&[100.0, 150.0, 110.0, 190.0], &[200.0; 4]), QUIET, "apart"),
        ] {
            let verdict = Verdict::of(&figures, seen);
            assert!(verdict.reasons.iter().any(|r| r.contains(why)), "{why}: {verdict:?}");
            assert_eq!(verdict.judge(ratio(), 1.0), Some(Judged::Not(2.2)));
            let json = verdict.json(&figures);
            assert_eq!(json["judged"], false);
            assert_eq!(json["met"], json!([]));
        }
    }
}
