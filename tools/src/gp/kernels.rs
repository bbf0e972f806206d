//! The dense kernels on square tiles, row by row in memory: what each task computes.
//!
//! The serial run calls the same functions, so its wall time and its bits can be compared.

use std::fmt;

/// Columns that are factorised one by one before `dgemm` carries them on.
const BLOCK: usize = 32;

/// The matrix has no factor: a pivot is not positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NotPositive {
    /// Its row within the tile.
    pub(crate) row: usize,
    /// What was found.
    pub(crate) pivot: f64,
}

impl fmt::Display for NotPositive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, pivot } = self;
        write!(f, "the matrix is not positive definite: pivot {pivot:e} in row {row} of the tile")
    }
}

impl std::error::Error for NotPositive {}

/// The covariance of two points: `variance * exp(-|a - b|^2 / (2 length^2))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rbf {
    pub(crate) variance: f64,
    pub(crate) length: f64,
}

impl Rbf {
    pub(crate) fn of(&self, a: &[f64], b: &[f64]) -> f64 {
        let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
        self.variance * (-distance / (2.0 * self.length * self.length)).exp()
    }
}

/// The matrix that is factorised: covariances, noise on the diagonal, identity where it is padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covariance {
    pub(crate) rbf: Rbf,
    pub(crate) noise: f64,
    pub(crate) features: usize,
    /// Rows from here on are padding.
    pub(crate) points: usize,
}

impl Covariance {
    /// Fills the tile whose first row is `top` and whose first column is `left`, from the points
    /// of its rows and of its columns.
    pub(crate) fn fill(
        &self,
        tile: &mut [f64],
        (rows, top): (&[f64], usize),
        (columns, left): (&[f64], usize),
    ) {
        let side = columns.len() / self.features;
        let lines = rows.chunks_exact(self.features).zip(tile.chunks_exact_mut(side));
        for (row, (a, line)) in (top..).zip(lines) {
            for (column, (b, cell)) in
                (left..).zip(columns.chunks_exact(self.features).zip(line.iter_mut()))
            {
                *cell = if row < self.points && column < self.points {
                    self.rbf.of(a, b) + if row == column { self.noise } else { 0.0 }
                } else {
                    f64::from(u8::from(row == column))
                };
            }
        }
    }
}

/// `a` becomes its lower Cholesky factor; zeros above the diagonal.
pub(crate) fn potrf(side: usize, a: &mut [f64]) -> Result<(), NotPositive> {
    assert_eq!(a.len(), side * side);
    for left in (0..side).step_by(BLOCK) {
        let right = (left + BLOCK).min(side);
        for column in left..right {
            let (upper, lower) = a.split_at_mut((column + 1) * side);
            let own = &mut upper[column * side..];
            let pivot = own[column] - dot(&own[left..column], &own[left..column]);
            if pivot <= 0.0 || !pivot.is_finite() {
                return Err(NotPositive { row: column, pivot });
            }
            own[column] = pivot.sqrt();
            for line in lower.chunks_exact_mut(side) {
                line[column] =
                    (line[column] - dot(&line[left..column], &own[left..column])) / own[column];
            }
        }
        let (rest, width) = (side - right, right - left);
        let panel = At { offset: right * side + left, stride: side };
        let trailing = At { offset: right * side + right, stride: side };
        update(a, trailing, (rest, rest, width), Factor::Own(panel), Factor::Own(panel));
    }
    for (row, line) in a.chunks_exact_mut(side).enumerate() {
        line[row + 1..].fill(0.0);
    }
    Ok(())
}

/// `a` becomes `a * l^-T` for a lower triangle `l`.
pub(crate) fn trsm(side: usize, l: &[f64], a: &mut [f64]) {
    assert!(l.len() == side * side && a.len() == side * side);
    for left in (0..side).step_by(BLOCK) {
        let right = (left + BLOCK).min(side);
        for line in a.chunks_exact_mut(side) {
            for column in left..right {
                let factor = &l[column * side..(column + 1) * side];
                line[column] = (line[column] - dot(&line[left..column], &factor[left..column]))
                    / factor[column];
            }
        }
        let (rest, width) = (side - right, right - left);
        let solved = At { offset: left, stride: side };
        let open = At { offset: right, stride: side };
        let below = At { offset: right * side + left, stride: side };
        update(a, open, (side, rest, width), Factor::Own(solved), Factor::Other(l, below));
    }
}

/// `c -= a * a^T`; of `c` only blocks that touch the lower triangle.
pub(crate) fn syrk(side: usize, a: &[f64], c: &mut [f64]) {
    let block = 2 * BLOCK;
    for left in (0..side).step_by(block) {
        let width = block.min(side - left);
        let rows = At { offset: left * side, stride: side };
        let target = At { offset: left * side + left, stride: side };
        let factor = Factor::Other(a, rows);
        update(c, target, (side - left, width, side), factor, factor);
    }
}

/// `c -= a * b^T`.
pub(crate) fn gemm(side: usize, a: &[f64], b: &[f64], c: &mut [f64]) {
    let all = At { offset: 0, stride: side };
    update(c, all, (side, side, side), Factor::Other(a, all), Factor::Other(b, all));
}

/// Where a matrix begins in a slice, and how far its rows are apart.
#[derive(Clone, Copy, Debug)]
struct At {
    offset: usize,
    stride: usize,
}

impl At {
    /// Elements of the slice that a matrix of this size reaches over.
    fn reach(self, rows: usize, columns: usize) -> usize {
        self.offset + (rows - 1) * self.stride + columns
    }

    /// The column it begins in.
    fn column(self) -> usize {
        self.offset % self.stride
    }
}

/// A factor of a product.
#[derive(Clone, Copy)]
enum Factor<'a> {
    /// Columns of the matrix that is updated, before those that are.
    Own(At),
    /// Part of another matrix.
    Other(&'a [f64], At),
}

/// `c -= a * b^T`, where `c` is the part of `own` at `target`. The size is rows of `a`, rows of
/// `b`, and columns of both.
fn update(own: &mut [f64], target: At, (m, n, k): (usize, usize, usize), a: Factor, b: Factor) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(target.reach(m, n) <= own.len() && target.column() + n <= target.stride);
    let base = own.as_mut_ptr();
    let place = |factor: Factor, rows: usize| match factor {
        Factor::Own(at) => {
            assert!(at.reach(rows, k) <= own.len() && at.stride == target.stride);
            assert!(at.column() + k <= target.column());
            (base.cast_const().wrapping_add(at.offset), at.stride as isize)
        }
        Factor::Other(slice, at) => {
            assert!(at.reach(rows, k) <= slice.len());
            (slice.as_ptr().wrapping_add(at.offset), at.stride as isize)
        }
    };
    let ((a, a_stride), (b, b_stride)) = (place(a, m), place(b, n));
    let (c, c_stride) = (base.wrapping_add(target.offset), target.stride as isize);
    // SAFETY: every part lies inside its slice, and a factor in the slice of `c` has other columns
    // than `c` has, all by the checks above. `b` is transposed by swapping its strides.
    unsafe {
        matrixmultiply::dgemm(m, k, n, -1.0, a, a_stride, 1, b, 1, b_stride, 1.0, c, c_stride, 1);
    }
}

/// Several sums at a time, which the compiler can keep in one vector register.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
#[path = "kernels_tests.rs"]
mod tests;
