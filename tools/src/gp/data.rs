//! The wine quality data, made ready: standardised, split, padded.

use crate::stats::mean;

/// Every so manyth row is held out.
const HOLD_OUT: usize = 5;

/// Rows of features, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    pub(crate) features: usize,
    pub(crate) values: Vec<f64>,
}

impl Points {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.features.max(1)
    }

    /// The rows, one at a time.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.features.max(1))
    }

    /// With rows of zeros behind, up to `rows` of them.
    pub(crate) fn padded(&self, rows: usize) -> Self {
        let mut values = self.values.clone();
        values.resize(rows * self.features, 0.0);
        Self { features: self.features, values }
    }
}

/// What is learnt from, and what is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    pub(crate) train: Points,
    /// Centred: the mean of the training part is taken off.
    pub(crate) targets: Vec<f64>,
    pub(crate) target_mean: f64,
    pub(crate) test: Points,
    pub(crate) truth: Vec<f64>,
}

/// 1,599 red wines: eleven measurements each, and a grade from 3 to 8.
pub(crate) fn wine() -> Split {
    let set = linfa_datasets::winequality();
    let features = set.records.ncols();
    // `iter` goes row by row, whatever the layout in memory.
    let values: Vec<f64> = set.records.iter().copied().collect();
    let grades: Vec<f64> = set.targets.iter().map(|&grade| grade as f64).collect();
    split(&Points { features, values }, &grades)
}

/// Holds every fifth row out; standardises by what the training part alone shows.
fn split(all: &Points, grades: &[f64]) -> Split {
    let features = all.features;
    let mut split = Split::default();
    (split.train.features, split.test.features) = (features, features);
    for (index, (row, &grade)) in all.rows().zip(grades).enumerate() {
        let (points, targets) = if index % HOLD_OUT == 0 {
            (&mut split.test, &mut split.truth)
        } else {
            (&mut split.train, &mut split.targets)
        };
        points.values.extend_from_slice(row);
        targets.push(grade);
    }
    for feature in 0..features {
        let column: Vec<f64> = split.train.rows().map(|row| row[feature]).collect();
        let centre = mean(&column);
        let squares: Vec<f64> = column.iter().map(|value| (value - centre).powi(2)).collect();
        // A feature that never changes says nothing; dividing by 1 keeps it at zero.
        let scale = Some(mean(&squares).sqrt()).filter(|&s| s > 0.0).unwrap_or(1.0);
        for points in [&mut split.train, &mut split.test] {
            for row in points.values.chunks_exact_mut(features) {
                row[feature] = (row[feature] - centre) / scale;
            }
        }
    }
    split.target_mean = mean(&split.targets);
    split.targets.iter_mut().for_each(|target| *target -= split.target_mean);
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wine_is_all_there() {
        let split = wine();
        assert_eq!((split.train.len(), split.test.len()), (1279, 320));
        assert_eq!((split.targets.len(), split.truth.len()), (1279, 320));
        assert_eq!(split.train.features, 11);
        assert!(split.truth.iter().all(|grade| (3.0..=8.0).contains(grade)));
        assert!(mean(&split.targets).abs() < 1e-12);
        for feature in 0..11 {
            let column: Vec<f64> = split.train.rows().map(|row| row[feature]).collect();
            let squares: Vec<f64> = column.iter().map(|value| value * value).collect();
            assert!(mean(&column).abs() < 1e-10, "feature {feature} is not centred");
            assert!((mean(&squares) - 1.0).abs() < 1e-10, "feature {feature} is not scaled");
        }
    }

    #[test]
    fn a_constant_feature_does_no_harm() {
        let all = Points { features: 1, values: vec![7.0; 10] };
        let split = split(&all, &[1.0; 10]);
        assert_eq!(split.train.values, [0.0; 8]);
        assert_eq!(split.test.values, [0.0; 2]);
    }
}
