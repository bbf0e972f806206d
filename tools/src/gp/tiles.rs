//! The lower triangle of a matrix in square tiles, and the steps that factorise it.

use super::kernels::{self, Covariance, NotPositive};

/// Tiles of a lower triangle, the diagonal included, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    pub(crate) side: usize,
    /// Tiles along the diagonal.
    pub(crate) across: usize,
    tiles: Vec<Vec<f64>>,
}

/// The position of tile `(i, j)` with `j <= i` in the order of storage.
pub(crate) fn index(i: usize, j: usize) -> usize {
    debug_assert!(j <= i);
    i * (i + 1) / 2 + j
}

/// Tiles in a lower triangle.
pub(crate) fn tiles_of(across: usize) -> usize {
    across * (across + 1) / 2
}

impl Tiles {
    pub(crate) fn zeros(side: usize, across: usize) -> Self {
        Self { side, across, tiles: vec![vec![0.0; side * side]; tiles_of(across)] }
    }

    /// From all tiles one after the other.
    pub(crate) fn from_values(side: usize, across: usize, values: &[f64]) -> Self {
        let tiles: Vec<_> = values.chunks_exact(side * side).map(<[f64]>::to_vec).collect();
        assert_eq!(tiles.len(), tiles_of(across));
        Self { side, across, tiles }
    }

    pub(crate) fn tile(&self, i: usize, j: usize) -> &[f64] {
        &self.tiles[index(i, j)]
    }

    /// Element of the whole matrix, in or below the diagonal tiles.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        let side = self.side;
        self.tile(row / side, column / side)[row % side * side + column % side]
    }

    /// The greatest difference between elements of two matrices of one shape.
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        let pairs = self.tiles.iter().flatten().zip(other.tiles.iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    /// Does one step here and now. `points` are those of all rows, padding included.
    pub(crate) fn perform(
        &mut self,
        step: Step,
        covariance: &Covariance,
        points: &[f64],
    ) -> Result<(), NotPositive> {
        let side = self.side;
        let (i, j) = step.target();
        // Out of the list while it is written, so that the others can be read.
        let mut own = std::mem::take(&mut self.tiles[index(i, j)]);
        let done = match step {
            Step::Kernel { i, j } => {
                let length = side * covariance.features;
                let of = |tile: usize| (&points[tile * length..][..length], tile * side);
                covariance.fill(&mut own, of(i), of(j));
                Ok(())
            }
            Step::Potrf { .. } => kernels::potrf(side, &mut own),
            Step::Trsm { k, .. } => {
                kernels::trsm(side, self.tile(k, k), &mut own);
                Ok(())
            }
            Step::Syrk { i, k } => {
                kernels::syrk(side, self.tile(i, k), &mut own);
                Ok(())
            }
            Step::Gemm { i, j, k } => {
                kernels::gemm(side, self.tile(i, k), self.tile(j, k), &mut own);
                Ok(())
            }
        };
        self.tiles[index(i, j)] = own;
        done
    }
}

/// One step: a task of the graph, or a call of the serial run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Computes tile (i, j) of the matrix.
    Kernel { i: usize, j: usize },
    /// Factorises diagonal tile k.
    Potrf { k: usize },
    /// Solves tile (i, k) against diagonal tile k.
    Trsm { i: usize, k: usize },
    /// Takes the square of tile (i, k) off diagonal tile i.
    Syrk { i: usize, k: usize },
    /// Takes tile (i, k) times tile (j, k) off tile (i, j).
    Gemm { i: usize, j: usize, k: usize },
}

impl Step {
    /// The tile that it writes.
    pub(crate) fn target(self) -> (usize, usize) {
        match self {
            Self::Kernel { i, j } | Self::Gemm { i, j, .. } => (i, j),
            Self::Potrf { k } => (k, k),
            Self::Trsm { i, k } => (i, k),
            Self::Syrk { i, .. } => (i, i),
        }
    }
}

/// The tiles of the matrix itself.
pub(crate) fn fill_steps(across: usize) -> impl Iterator<Item = Step> {
    (0..across).flat_map(|i| (0..=i).map(move |j| Step::Kernel { i, j }))
}

/// The right-looking factorisation, in the order of the text book.
pub(crate) fn factor_steps(across: usize) -> impl Iterator<Item = Step> {
    (0..across).flat_map(move |k| {
        let solve = (k + 1..across).map(move |i| Step::Trsm { i, k });
        let update = (k + 1..across).flat_map(move |i| {
            let left = (k + 1..i).map(move |j| Step::Gemm { i, j, k });
            left.chain(std::iter::once(Step::Syrk { i, k }))
        });
        std::iter::once(Step::Potrf { k }).chain(solve).chain(update)
    })
}

/// How many steps of each kind there are: kernel, potrf, trsm, syrk, gemm.
pub(crate) fn census(across: usize) -> [usize; 5] {
    let mut count = [0; 5];
    for step in fill_steps(across).chain(factor_steps(across)) {
        count[match step {
            Step::Kernel { .. } => 0,
            Step::Potrf { .. } => 1,
            Step::Trsm { .. } => 2,
            Step::Syrk { .. } => 3,
            Step::Gemm { .. } => 4,
        }] += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tiles_make_275_steps() {
        assert_eq!(census(10), [55, 10, 45, 45, 120]);
        assert_eq!(census(1), [1, 1, 0, 0, 0]);
        assert_eq!(tiles_of(10), 55);
        assert_eq!(index(9, 9), 54);
    }
}
