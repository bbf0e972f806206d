//! The problem: queries, keys and values of all heads, and the answer computed plainly.

use std::ops::Range;

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) sequence: usize,
    pub(crate) dim: usize,
    /// Queries of a tile, and keys of a tile.
    pub(crate) tile: usize,
}

impl Shape {
    /// Tiles along the sequence; the last one may be smaller.
    pub(crate) fn tiles(&self) -> usize {
        self.sequence.div_ceil(self.tile)
    }

    /// The rows of tile `index`.
    pub(crate) fn rows(&self, index: usize) -> Range<usize> {
        index * self.tile..((index + 1) * self.tile).min(self.sequence)
    }

    /// The keys of member `member` of a group of `members`.
    pub(crate) fn shard(&self, member: usize, members: usize) -> Range<usize> {
        self.sequence * member / members..self.sequence * (member + 1) / members
    }

    /// Numbers in Q, and as many in K, V and O, of one head.
    pub(crate) fn head_values(&self) -> usize {
        self.sequence * self.dim
    }

    /// Numbers in Q, and as many in K, V and O.
    pub(crate) fn values(&self) -> usize {
        self.heads * self.head_values()
    }

    /// Multiplications and additions of the two products, the softmax not counted.
    pub(crate) fn flops(&self) -> f64 {
        4.0 * self.sequence as f64 * self.values() as f64
    }

    /// What scores are multiplied with.
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }
}

/// Inputs and their answer. Heads one after the other, `[sequence, dim]` each.
pub(crate) struct Problem {
    pub(crate) shape: Shape,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

impl Problem {
    /// The same numbers every time: evenly spread, of variance 1, as normalised activations are.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut state = 0x0564;
        let mut numbers = || (0..shape.values()).map(|_| even(&mut state)).collect();
        Self { shape, q: numbers(), k: numbers(), v: numbers() }
    }

    /// softmax(Q * K^T / sqrt(D)) * V in f64, a row at a time; `done` is told after each head.
    pub(crate) fn solve(&self, mut done: impl FnMut()) -> Vec<f64> {
        let Shape { sequence, dim, .. } = self.shape;
        let mut answer = Vec::with_capacity(self.shape.values());
        let mut weights = vec![0.0; sequence];
        let heads = self.shape.head_values();
        for ((q, k), v) in self
            .q
            .chunks_exact(heads)
            .zip(self.k.chunks_exact(heads))
            .zip(self.v.chunks_exact(heads))
        {
            for query in q.chunks_exact(dim) {
                for (weight, key) in weights.iter_mut().zip(k.chunks_exact(dim)) {
                    let products =
                        query.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b));
                    *weight = self.shape.scale() * products.sum::<f64>();
                }
                let greatest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                weights.iter_mut().for_each(|weight| *weight = (*weight - greatest).exp());
                let sum: f64 = weights.iter().sum();
                let row = answer.len();
                answer.resize(row + dim, 0.0);
                for (weight, value) in weights.iter().zip(v.chunks_exact(dim)) {
                    for (own, &value) in answer[row..].iter_mut().zip(value) {
                        *own += weight / sum * f64::from(value);
                    }
                }
            }
            done();
        }
        answer
    }
}

/// The greatest difference; not a number if any value is none.
pub(crate) fn max_abs_error(values: &[f32], answer: &[f64]) -> f64 {
    assert_eq!(values.len(), answer.len());
    let differences =
        values.iter().zip(answer).map(|(&own, &other)| (f64::from(own) - other).abs());
    differences.fold(0.0, worse)
}

/// The greater of two errors. Not `f64::max`, which passes over what is not a number.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// The next number of a SplitMix64 sequence, in [-sqrt(3), sqrt(3)).
fn even(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let unit = (z >> 40) as f64 / f64::from(1 << 24);
    ((2.0 * unit - 1.0) * 3f64.sqrt()) as f32
}

#[cfg(test)]
mod chip_tests {
    use super::*;

    const SMALL: Shape = Shape { heads: 2, sequence: 5, dim: 3, tile: 2 };

    #[test]
    fn tiles_and_shards_cover_every_row_once() {
        assert_eq!(SMALL.tiles(), 3);
        assert_eq!((SMALL.rows(0), SMALL.rows(2)), (0..2, 4..5));
        for members in 1..=5 {
            let rows = (0..members).flat_map(|member| SMALL.shard(member, members));
            assert_eq!(rows.collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{members} members");
        }
    }

    #[test]
    fn equal_keys_give_the_mean_of_the_values() {
        let mut problem = Problem::new(SMALL);
        problem.k.fill(0.25);
        let answer = problem.solve(|| {});
        for (head, rows) in answer.chunks_exact(15).enumerate() {
            for (at, &own) in rows.iter().enumerate() {
                let column = (0..5).map(|row| f64::from(problem.v[head * 15 + row * 3 + at % 3]));
                assert!((own - column.sum::<f64>() / 5.0).abs() < 1e-12, "head {head}, value {at}");
            }
        }
    }

    #[test]
    fn one_key_far_ahead_of_the_others_gives_its_value() {
        let mut problem = Problem::new(SMALL);
        problem.q.fill(10.0);
        problem.k.fill(0.0);
        problem.k[6..9].fill(100.0); // head 0, key 2
        let answer = problem.solve(|| {});
        for row in answer[..15].chunks_exact(3) {
            for (own, &value) in row.iter().zip(&problem.v[6..9]) {
                assert!((own - f64::from(value)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_inputs_have_mean_0_and_variance_1() {
        let shape = Shape { heads: 4, sequence: 100, dim: 50, tile: 10 };
        let q = Problem::new(shape).q;
        let count = q.len() as f64;
        let mean = q.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = q.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn an_error_that_is_no_number_is_the_worst() {
        assert_eq!(max_abs_error(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert!(max_abs_error(&[f32::NAN, 2.0], &[1.5, 0.0]).is_nan());
        assert!(max_abs_error(&[0.0, f32::NAN], &[1.5, 0.0]).is_nan());
    }
}
