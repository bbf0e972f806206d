//! Small statistics.

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

/// What a handful of measurements of one figure say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) p1: f64,
    pub(crate) p99: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The middle half over the median: how far apart measurements usually are.
    pub(crate) spread: f64,
    pub(crate) count: usize,
}

impl Summary {
    /// `None` without measurements. What is not a number is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let at = |q| quantile(&sorted, q);
        let median = at(0.5);
        let half = at(0.75) - at(0.25);
        let spread = if median == 0.0 { 0.0 } else { half / median };
        Some(Self { median, p1: at(0.01), p99: at(0.99), min, max, spread, count: sorted.len() })
    }
}

/// The value below which a share `q` of sorted values lies, between its two neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The nearest measurement to a quantile of many integers; reorders them. 0 without any.
pub(crate) fn percentile(values: &mut [u64], q: f64) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let at = (q * (values.len() - 1) as f64).round() as usize;
    *values.select_nth_unstable(at).1
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
    fn summaries_say_how_far_apart_measurements_are() {
        let all: Vec<f64> = (0..=100).map(f64::from).rev().collect();
        let s = Summary::of(&all).expect("there are some");
        assert_eq!((s.median, s.p1, s.p99), (50.0, 1.0, 99.0));
        assert_eq!((s.min, s.max, s.spread, s.count), (0.0, 100.0, 1.0, 101));
        let one = Summary::of(&[7.0, f64::NAN]).expect("one");
        assert_eq!((one.median, one.p1, one.p99, one.spread, one.count), (7.0, 7.0, 7.0, 0.0, 1));
        assert_eq!(Summary::of(&[1.0, 2.0]).expect("two").median, 1.5);
        assert_eq!(Summary::of(&[f64::NAN]), None);
        assert_eq!(Summary::of(&[0.0]).expect("zero").spread, 0.0);
    }

    #[test]
    fn percentiles_of_many() {
        let mut all: Vec<u64> = (0..1001).rev().collect();
        assert_eq!(percentile(&mut all, 0.5), 500);
        assert_eq!(percentile(&mut all, 0.999), 999);
        assert_eq!(percentile(&mut [], 0.5), 0);
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median_of(&mut [9, 1, 5]), 5);
        assert_eq!(median_of(&mut []), 0);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[]), 0.0);
        assert_eq!(rmse([1.0, 2.0], [4.0, -2.0]), 12.5f64.sqrt());
    }
}
