//! All that was measured: figures by key, as JSON.

use serde_json::{Map, Value, json};

use super::machine::State;
use super::raw::{Raw, Series, series_json};
use super::section::{Figure, Section, Source};
use crate::stats::Summary;

/// The sections that were measured, in the order of the report.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) sections: Vec<(&'static Section, Raw)>,
    /// What each took, in seconds.
    pub(super) seconds: Vec<(&'static str, f64)>,
    /// Sections that failed, and why.
    pub(super) failed: Vec<(&'static str, String)>,
}

impl Figures {
    pub(super) fn summary(&self, section: &Section, figure: &Figure) -> Option<Summary> {
        let (_, raw) = self.sections.iter().find(|(of, _)| of.name == section.name)?;
        Summary::of(&values(raw, figure))
    }

    /// The rounds in which the processors were near, and those in which they were far: both where
    /// there are some of each, by the ping-pongs of the section. A state that was only passed
    /// through is left out. `otherwise` is that of a section without a ping-pong.
    pub(super) fn by_state(
        &self,
        section: &Section,
        figure: &Figure,
        otherwise: State,
    ) -> Vec<(State, Summary)> {
        /// Rounds of the rarer state.
        const LEAST: usize = 3;
        let Some((_, raw)) = self.sections.iter().find(|(of, _)| of.name == section.name) else {
            return Vec::new();
        };
        let all = values(raw, figure);
        let floors = section.figures.iter().find(|f| f.is_floor()).map(|f| values(raw, f));
        let Some(floors) = floors.filter(|floors| floors.len() == all.len()) else {
            return Summary::of(&all).map(|summary| (otherwise, summary)).into_iter().collect();
        };
        let split = State::ALL.map(|state| {
            let rounds = all.iter().zip(&floors).filter(|(_, floor)| State::of(**floor) == state);
            (state, rounds.map(|(value, _)| *value).collect::<Vec<f64>>())
        });
        let rounds = split.iter().map(|(_, rounds)| rounds.len());
        let (fewer, more) = (rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0));
        let least = if fewer >= LEAST { fewer } else { more };
        let enough = split.into_iter().filter(|(_, rounds)| rounds.len() >= least);
        enough.filter_map(|(state, rounds)| Some((state, Summary::of(&rounds)?))).collect()
    }

    /// Every measured figure with its section.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static Section, &'static Figure, Summary)> {
        self.sections.iter().flat_map(|(section, raw)| {
            let figures = section.figures.iter();
            figures.filter_map(|f| Some((*section, f, Summary::of(&values(raw, f))?)))
        })
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.sections.iter().flat_map(|(_, raw)| &raw.series)
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = &(String, String)> {
        self.sections.iter().flat_map(|(_, raw)| &raw.missing)
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = &String> {
        self.sections.iter().flat_map(|(_, raw)| &raw.notes)
    }

    /// All rounds of the ping-pongs, section by section.
    pub(super) fn floors(&self) -> Vec<f64> {
        let floors = self.sections.iter().flat_map(|(section, raw)| {
            section.figures.iter().filter(|f| f.is_floor()).flat_map(|f| values(raw, f))
        });
        floors.collect()
    }

    /// Medians of the flat keys.
    pub(super) fn flat(&self) -> Map<String, Value> {
        let flat = self.all().filter(|(_, figure, _)| figure.flat);
        flat.map(|(_, figure, summary)| (figure.key.to_owned(), summary.median.into())).collect()
    }

    /// What was measured, in the order of the report and with its words.
    fn sections_json(&self) -> Value {
        let section = |(section, raw): &(&'static Section, Raw)| {
            let figures = section.figures.iter().filter(|figure| !values(raw, figure).is_empty());
            let figures = figures.map(|figure| {
                let Figure { key, label, unit, .. } = figure;
                json!({ "key": key, "label": label, "unit": unit.name() })
            });
            let figures: Vec<Value> = figures.collect();
            json!({ "name": section.name, "title": section.title, "figures": figures })
        };
        self.sections.iter().map(section).collect()
    }

    /// Every figure with its spread, lines of plots, and what is missing.
    pub(super) fn detail(&self, state: State) -> Map<String, Value> {
        let figures = self.all().map(|(section, figure, s)| {
            let mut all = json!({
                "median": s.median, "p1": s.p1, "p99": s.p99, "min": s.min, "max": s.max,
                "spread": s.spread, "rounds": s.count,
            });
            for (state, summary) in self.by_state(section, figure, state) {
                all[state.name()] = summary.median.into();
            }
            (figure.key.to_owned(), all)
        });
        let mut detail: Map<String, Value> = figures.collect();
        let series: Vec<Series> = self.series().cloned().collect();
        detail
            .insert("series".to_owned(), series_json(&series, |ys| Some(Summary::of(ys)?.median)));
        detail.insert("sections".to_owned(), self.sections_json());
        let seconds = self.seconds.iter().map(|(name, s)| ((*name).to_owned(), (*s).into()));
        detail.insert("seconds".to_owned(), seconds.collect::<Map<_, _>>().into());
        let pairs = |pairs: Vec<(String, String)>| -> Value {
            pairs.into_iter().map(|(k, v)| (k, Value::from(v))).collect::<Map<_, _>>().into()
        };
        detail.insert("missing".to_owned(), pairs(self.missing().cloned().collect()));
        let failed = self.failed.iter().map(|(name, why)| ((*name).to_owned(), why.clone()));
        detail.insert("failed".to_owned(), pairs(failed.collect()));
        detail
    }
}

/// What a figure was in each round.
pub(super) fn values(raw: &Raw, figure: &Figure) -> Vec<f64> {
    let of = |key: &str| raw.samples.get(key).map_or(&[][..], |values| values);
    match figure.source {
        Source::Measured => of(figure.key).to_vec(),
        Source::Ratio(over, under) => of(over).iter().zip(of(under)).map(|(a, b)| a / b).collect(),
        Source::Rate(ns) => of(ns).iter().map(|ns| 1e9 / ns).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::run::Measured;
    use super::super::section::{Axis, Bars, Effort, Panel, Unit, measured, rate, ratio};
    use super::*;

    /// A section that nobody runs.
    pub(in super::super) static SECTION: Section = Section {
        name: "example",
        title: "An example",
        seconds: [1.0; 3],
        figures: &[
            measured("example.pingpong_ns", Unit::Ns, "ping-pong", "there and back"),
            measured("trip_ns", Unit::Ns, "round trip", "submit, run, wait").flat(),
            ratio("ratio_trip", "trip_ns", "example.pingpong_ns", "/ ping-pong")
                .flat()
                .at_most(2.2, 1.5),
            rate("trips_per_s", "trip_ns", "a second"),
            measured("never_ns", Unit::Ns, "never measured", ""),
        ],
        panels: &[Panel {
            name: "growth",
            title: "Time a task",
            x: Axis::log("tasks"),
            y: Axis::linear("ns"),
        }],
        bars: &[Bars {
            title: "Trips",
            unit: "ns",
            bars: &[("trip", "trip_ns"), ("no", "never_ns")],
        }],
        measure: nothing,
    };

    fn nothing(_: &mut super::super::run::Run) -> Measured {
        Ok(())
    }

    pub(in super::super) fn figures(floors: &[f64], trips: &[f64]) -> Figures {
        let mut raw = Raw::default();
        floors.iter().for_each(|&ns| raw.add("example.pingpong_ns", ns));
        trips.iter().for_each(|&ns| raw.add("trip_ns", ns));
        for (x, y) in [(1e3, 40.0), (1e4, 41.0), (1e5, 44.0)] {
            raw.point("growth", "chain", x, y);
            raw.point("growth", "independent", x, 2.0 * y);
        }
        raw.missing.push(("Taskflow".to_owned(), "no header".to_owned()));
        let failed = vec![("other", "why".to_owned())];
        Figures { sections: vec![(&SECTION, raw)], seconds: vec![("example", 1.5)], failed }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let figures = figures(&[100.0, 400.0, 100.0], &[200.0, 600.0, 300.0]);
        let flat = figures.flat();
        assert_eq!(flat["ratio_trip"], 2.0, "of 2, 1.5 and 3, not of medians: 300 / 100");
        assert_eq!(flat["trip_ns"], 300.0);
        assert!(!flat.contains_key("trips_per_s") && !flat.contains_key("never_ns"));
        let detail = figures.detail(State::Near);
        assert_eq!(detail["ratio_trip"]["min"], 1.5);
        assert_eq!(detail["ratio_trip"]["rounds"], 3);
        assert_eq!(detail["ratio_trip"]["near"], 2.5, "one round was far: passed through");
        assert_eq!(detail["ratio_trip"].get("far"), None);
        assert_eq!(detail["seconds"]["example"], 1.5);
        let listed = detail["sections"][0]["figures"].as_array().expect("a list");
        assert_eq!(listed.len(), 4, "what was never measured is not there");
        assert_eq!(
            listed[2],
            json!({ "key": "ratio_trip", "label": "/ ping-pong", "unit": "ratio" })
        );
        assert_eq!(detail["trips_per_s"]["max"], 5e6);
        assert_eq!(detail["series"]["growth"]["chain"][2], json!([1e5, 44.0]));
        assert_eq!(detail["missing"]["Taskflow"], "no header");
        assert_eq!(detail["failed"]["other"], "why");
        assert_eq!(figures.floors(), [100.0, 400.0, 100.0]);
        assert!(Effort::Quick < Effort::Full);
    }

    #[test]
    fn near_and_far_are_kept_apart() {
        let floors = [100.0, 400.0, 100.0, 400.0, 100.0, 400.0, 100.0];
        let figures = figures(&floors, &[200.0, 600.0, 210.0, 640.0, 190.0, 680.0, 220.0]);
        let ratio = &SECTION.figures[2];
        let medians = |figures: &Figures, figure| -> Vec<_> {
            let states = figures.by_state(&SECTION, figure, State::Far);
            states.into_iter().map(|(state, s)| (state, s.median, s.count)).collect()
        };
        assert_eq!(medians(&figures, ratio), [(State::Near, 2.05, 4), (State::Far, 1.6, 3)]);
        assert_eq!(medians(&figures, &SECTION.figures[4]), [], "never measured");
    }
}
