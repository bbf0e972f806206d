//! The kernels, alone and together, against the text book's three loops.

use super::super::tiles::{Tiles, factor_steps, fill_steps};
use super::*;

/// Numbers that look random and are the same every time.
fn numbers(count: usize, mut seed: u64) -> Vec<f64> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// `m * m^T` plus something on the diagonal.
fn positive(side: usize) -> Vec<f64> {
    let m = numbers(side * side, side as u64);
    let cell = |row: usize, column: usize| {
        let sum: f64 = (0..side).map(|k| m[row * side + k] * m[column * side + k]).sum();
        sum + if row == column { side as f64 } else { 0.0 }
    };
    (0..side * side).map(|at| cell(at / side, at % side)).collect()
}

fn naive_cholesky(side: usize, a: &[f64]) -> Vec<f64> {
    let mut l = vec![0.0; side * side];
    for row in 0..side {
        for column in 0..=row {
            let done: f64 = (0..column).map(|k| l[row * side + k] * l[column * side + k]).sum();
            let left = a[row * side + column] - done;
            l[row * side + column] =
                if row == column { left.sqrt() } else { left / l[column * side + column] };
        }
    }
    l
}

fn assert_close(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{what}: {a} is not {b} at {at}");
    }
}

#[test]
fn potrf_is_the_naive_factor_at_every_size() {
    for side in [1, 2, 7, 31, 32, 33, 64, 100] {
        let mut a = positive(side);
        let expected = naive_cholesky(side, &a);
        potrf(side, &mut a).expect("positive definite");
        assert_close(&a, &expected, &format!("side {side}"));
    }
}

#[test]
fn a_matrix_without_factor_is_refused() {
    let mut indefinite = vec![1.0, 2.0, 2.0, 1.0];
    assert_eq!(potrf(2, &mut indefinite), Err(NotPositive { row: 1, pivot: -3.0 }));
    assert!(potrf(1, &mut [f64::NAN]).is_err());
}

#[test]
fn trsm_undoes_a_product() {
    for side in [1, 5, 32, 70] {
        let l = naive_cholesky(side, &positive(side));
        let x = numbers(side * side, 3);
        let cell = |row: usize, column: usize| -> f64 {
            (0..side).map(|k| x[row * side + k] * l[column * side + k]).sum()
        };
        let mut a: Vec<f64> = (0..side * side).map(|at| cell(at / side, at % side)).collect();
        trsm(side, &l, &mut a);
        assert_close(&a, &x, &format!("side {side}"));
    }
}

#[test]
fn updates_are_products() {
    for side in [1, 6, 64, 65, 130] {
        let (a, b) = (numbers(side * side, 1), numbers(side * side, 2));
        let product = |b: &[f64]| -> Vec<f64> {
            let cell = |row: usize, column: usize| -> f64 {
                (0..side).map(|k| a[row * side + k] * b[column * side + k]).sum()
            };
            (0..side * side).map(|at| 1.0 - cell(at / side, at % side)).collect()
        };
        let mut c = vec![1.0; side * side];
        gemm(side, &a, &b, &mut c);
        assert_close(&c, &product(&b), &format!("gemm {side}"));

        let mut c = vec![1.0; side * side];
        syrk(side, &a, &mut c);
        let expected = product(&a);
        for row in 0..side {
            let lower = row * side..row * side + row + 1;
            assert_close(&c[lower.clone()], &expected[lower], &format!("syrk {side}"));
        }
    }
}

#[test]
fn tiles_are_the_naive_factor_of_the_padded_matrix() {
    let (features, points) = (3, 41);
    let rbf = Rbf { variance: 0.8, length: 0.7 };
    let covariance = Covariance { rbf, noise: 0.1, features, points };
    for side in [8, 16, 41, 64] {
        let across = points.div_ceil(side);
        let whole = across * side;
        let mut rows = numbers(points * features, 9);
        rows.resize(whole * features, 0.0);
        let of = |row: usize| &rows[row * features..][..features];
        let cell =
            |row: usize, column: usize| match (row < points && column < points, row == column) {
                (true, same) => rbf.of(of(row), of(column)) + if same { 0.1 } else { 0.0 },
                (false, same) => f64::from(u8::from(same)),
            };
        let a: Vec<f64> = (0..whole * whole).map(|at| cell(at / whole, at % whole)).collect();
        let expected = naive_cholesky(whole, &a);

        let mut tiles = Tiles::zeros(side, across);
        for step in fill_steps(across).chain(factor_steps(across)) {
            tiles.perform(step, &covariance, &rows).expect("positive definite");
        }
        for row in 0..whole {
            let line: Vec<f64> = (0..=row).map(|column| tiles.at(row, column)).collect();
            assert_close(&line, &expected[row * whole..][..=row], &format!("tile {side}"));
        }
    }
}
