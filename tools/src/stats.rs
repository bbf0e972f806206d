//! Small statistics, and figures in units that people read.

/// The median of some measurements, with the least and the greatest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without measurements.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[half]
        } else {
            f64::midpoint(sorted[half - 1], sorted[half])
        };
        Some(Self { median, min, max })
    }
}

/// The middle one of many integers; reorders them. 0 without any.
pub(crate) fn median_of(values: &mut [u64]) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let half = values.len() / 2;
    *values.select_nth_unstable(half).1
}

/// The mean; 0 without values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Root of the mean square of the differences.
pub(crate) fn rmse(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    let squares: Vec<f64> = a.into_iter().zip(b).map(|(a, b)| (a - b).powi(2)).collect();
    mean(&squares).sqrt()
}

/// Three significant digits, and plain numbers as far as they go.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Nanoseconds in the unit that fits.
pub(crate) fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        v if v < 1e3 => (ns, "ns"),
        v if v < 1e6 => (ns / 1e3, "us"),
        v if v < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_even_and_none() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median_of(&mut [9, 1, 5]), 5);
        assert_eq!(median_of(&mut []), 0);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[]), 0.0);
        assert_eq!(rmse([1.0, 2.0], [4.0, -2.0]), 12.5f64.sqrt());
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(number(0.1234), "0.123");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(time(217.4), "217 ns");
        assert_eq!(time(1_234.0), "1.23 us");
        assert_eq!(time(98_765_432.0), "98.8 ms");
        assert_eq!(time(2.5e9), "2.50 s");
    }
}
