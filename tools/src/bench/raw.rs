//! What the process of a section hands over: every measurement, as it was taken.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Measurements of one figure, one a round.
pub(super) type Samples = Vec<f64>;

/// A line of a plot: measurements for each place on the axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    pub(super) panel: String,
    pub(super) name: String,
    pub(super) points: Vec<(f64, Samples)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Raw {
    pub(super) samples: BTreeMap<String, Samples>,
    pub(super) series: Vec<Series>,
    /// What could not be measured here, and why.
    pub(super) missing: Vec<(String, String)>,
    /// Remarks for the report.
    pub(super) notes: Vec<String>,
}

impl Raw {
    pub(super) fn add(&mut self, key: &str, value: f64) {
        match self.samples.get_mut(key) {
            Some(values) => values.push(value),
            None => drop(self.samples.insert(key.to_owned(), vec![value])),
        }
    }

    pub(super) fn point(&mut self, panel: &str, name: &str, x: f64, y: f64) {
        let found = self.series.iter().position(|s| s.panel == panel && s.name == name);
        let at = found.unwrap_or_else(|| {
            let (panel, name) = (panel.to_owned(), name.to_owned());
            self.series.push(Series { panel, name, points: Vec::new() });
            self.series.len() - 1
        });
        let points = &mut self.series[at].points;
        match points.iter_mut().find(|(at, _)| *at == x) {
            Some((_, values)) => values.push(y),
            None => points.push((x, vec![y])),
        }
    }

    pub(super) fn json(&self) -> Value {
        let series = self
            .series
            .iter()
            .map(|s| json!({ "panel": s.panel, "name": s.name, "points": s.points }));
        json!({
            "samples": self.samples,
            "series": series.collect::<Vec<_>>(),
            "missing": self.missing,
            "notes": self.notes,
        })
    }

    /// `None` if that is not what [`Self::json`] makes.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let mut raw = Self::default();
        for (key, values) in value.get("samples").and_then(Value::as_object)? {
            raw.samples.insert(key.clone(), numbers(values)?);
        }
        for series in value.get("series").and_then(Value::as_array)? {
            let mut points = Vec::new();
            for point in series.get("points")?.as_array()? {
                points.push((point.get(0)?.as_f64()?, numbers(point.get(1)?)?));
            }
            let (panel, name) = (text(series.get("panel")?)?, text(series.get("name")?)?);
            raw.series.push(Series { panel, name, points });
        }
        for missing in value.get("missing").and_then(Value::as_array)? {
            raw.missing.push((text(missing.get(0)?)?, text(missing.get(1)?)?));
        }
        for note in value.get("notes").and_then(Value::as_array)? {
            raw.notes.push(text(note)?);
        }
        Some(raw)
    }
}

/// Series as the JSON file has them: `panel: name: [[x, y], ..]`, each `y` through `of`.
pub(super) fn series_json(all: &[Series], of: impl Fn(&[f64]) -> Option<f64>) -> Value {
    let mut panels = Map::new();
    for series in all {
        let points: Vec<_> =
            series.points.iter().filter_map(|(x, ys)| Some(json!([x, of(ys)?]))).collect();
        let panel = panels.entry(series.panel.clone()).or_insert_with(|| json!({}));
        if let Some(panel) = panel.as_object_mut() {
            panel.insert(series.name.clone(), points.into());
        }
    }
    panels.into()
}

/// JSON has no word for what is not a number: `null` stands for it.
fn numbers(values: &Value) -> Option<Samples> {
    values
        .as_array()?
        .iter()
        .map(|v| if v.is_null() { Some(f64::NAN) } else { v.as_f64() })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_arrives() {
        let mut raw = Raw::default();
        raw.add("a_ns", 1.5);
        raw.add("a_ns", 2.5);
        raw.point("growth", "chain", 1e3, 40.0);
        raw.point("growth", "chain", 1e3, 42.0);
        raw.point("growth", "chain", 1e4, 41.0);
        raw.missing.push(("ompi".to_owned(), "no mpicc".to_owned()));
        raw.notes.push("a remark".to_owned());
        let text = raw.json().to_string();
        let back = serde_json::from_str(&text).expect("JSON");
        assert_eq!(Raw::of(&back), Some(raw));
        assert_eq!(Raw::of(&json!({ "samples": 1 })), None);
        let nan = json!({ "samples": { "a": [null] }, "series": [], "missing": [], "notes": [] });
        assert!(Raw::of(&nan).expect("a raw").samples["a"][0].is_nan());
    }
}
