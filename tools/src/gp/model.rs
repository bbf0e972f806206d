//! What the factor is good for: checking it, solving with it, predicting.

use super::data::{Points, Split};
use super::kernels::{self, Rbf};
use super::tiles::Tiles;
use crate::stats::rmse;

/// `|A - L L^T| / |A|` in the norm of Frobenius. `a` holds whole diagonal tiles; the tiles below
/// the diagonal stand for those above as well.
pub(crate) fn residual(a: &Tiles, l: &Tiles) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for i in 0..a.across {
        for j in 0..=i {
            let weight = if i == j { 1.0 } else { 2.0 };
            let mut rest = a.tile(i, j).to_vec();
            for k in 0..=j {
                kernels::gemm(a.side, l.tile(i, k), l.tile(j, k), &mut rest);
            }
            difference += weight * sum_of_squares(&rest);
            norm += weight * sum_of_squares(a.tile(i, j));
        }
    }
    (difference / norm).sqrt()
}

fn sum_of_squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// The solution of `L L^T x = b`; rows of padding get zeros.
pub(crate) fn solve(l: &Tiles, b: &[f64]) -> Vec<f64> {
    let rows = l.across * l.side;
    let mut x = b.to_vec();
    x.resize(rows, 0.0);
    for row in 0..rows {
        let known: f64 = (0..row).map(|column| l.at(row, column) * x[column]).sum();
        x[row] = (x[row] - known) / l.at(row, row);
    }
    for row in (0..rows).rev() {
        x[row] /= l.at(row, row);
        let (above, own) = x.split_at_mut(row);
        for (column, value) in above.iter_mut().enumerate() {
            *value -= l.at(row, column) * own[0];
        }
    }
    x
}

/// The mean of the process at each point, given the weights of the training points.
fn predict(rbf: Rbf, train: &Points, weights: &[f64], points: &Points) -> Vec<f64> {
    let at = |point: &[f64]| train.rows().zip(weights).map(|(row, w)| w * rbf.of(row, point)).sum();
    points.rows().map(at).collect()
}

/// How far predictions are off on the held-out part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    pub(crate) rmse: f64,
    /// Of a predictor that always says the mean of the training part.
    pub(crate) rmse_mean: f64,
}

/// Solves, predicts the held-out part, compares.
pub(crate) fn quality(split: &Split, rbf: Rbf, l: &Tiles) -> Quality {
    let weights = solve(l, &split.targets);
    let predicted = predict(rbf, &split.train, &weights, &split.test);
    let truth = || split.truth.iter().copied();
    Quality {
        rmse: rmse(predicted.iter().map(|value| value + split.target_mean), truth()),
        rmse_mean: rmse(std::iter::repeat(split.target_mean), truth()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Covariance;
    use super::super::tiles::{factor_steps, fill_steps};
    use super::*;

    fn factored() -> (Tiles, Tiles, Points, Covariance) {
        let rbf = Rbf { variance: 1.0, length: 1.0 };
        let train = Points { features: 1, values: (0..20).map(|i| f64::from(i) / 3.0).collect() };
        let covariance = Covariance { rbf, noise: 1e-6, features: 1, points: 20 };
        let points = train.padded(24);
        let mut a = Tiles::zeros(8, 3);
        for step in fill_steps(3) {
            a.perform(step, &covariance, &points.values).expect("a kernel tile cannot fail");
        }
        let mut l = a.clone();
        for step in factor_steps(3) {
            l.perform(step, &covariance, &points.values).expect("positive definite");
        }
        (a, l, train, covariance)
    }

    #[test]
    fn the_residual_sees_one_wrong_element() {
        let (a, l, ..) = factored();
        assert!(residual(&a, &l) < 1e-14);
        let mut values: Vec<f64> = (0..3)
            .flat_map(|i| (0..=i).flat_map(|j| l.tile(i, j).to_vec()).collect::<Vec<_>>())
            .collect();
        values[100] += 1e-6;
        assert!(residual(&a, &Tiles::from_values(8, 3, &values)) > 1e-9);
    }

    #[test]
    fn a_smooth_function_is_learnt() {
        let (_, l, train, covariance) = factored();
        let targets: Vec<f64> = train.values.iter().map(|x| x.sin()).collect();
        let test = Points { features: 1, values: vec![1.1, 2.5, 4.0] };
        let truth = test.values.iter().map(|x| x.sin()).collect();
        let split = Split { train, targets, target_mean: 0.0, test, truth };
        let quality = quality(&split, covariance.rbf, &l);
        assert!(quality.rmse < 1e-3, "{quality:?}");
        assert!(quality.rmse_mean > 0.5, "{quality:?}");
    }
}
