//! Attention as a graph of tiles: one task for each tile of queries and tile of keys, and the
//! order inferred from the state that they hand on.
//!
//! ```text
//!  queries i:  attend keys 0 ─▶ attend keys 1 ─▶ ...  one chain over all keys: O, m, l are INOUT
//!
//!  or, when there are fewer tiles of queries than keep the chips busy:
//!              attend keys 0 ─▶ attend keys 1 ─┐
//!              attend keys 2 ─▶ attend keys 3 ─┴▶ merge   (a tree of merges)
//! ```

use std::ops::Range;

use mailring::abi::{CallConfig, ContinuousTensor, DataType, TaskArgs};
use mailring::{Buffer, Error, Executor, Orchestrator, TaskOptions};

use super::data::{Problem, Shape};
use super::programs::{FIRST, LAST, Programs};

/// Chains that a chip should have to choose from.
const CHAINS_A_CHIP: usize = 2;

/// How the keys of a tile of queries are cut into chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Chains for each tile of queries.
    pub(crate) chains: usize,
}

impl Plan {
    pub(crate) fn new(shape: Shape, chips: usize) -> Self {
        let wanted = (CHAINS_A_CHIP * chips).div_ceil(shape.heads * shape.tiles());
        Self { shape, chains: wanted.clamp(1, shape.tiles()) }
    }

    /// Tasks that take keys in, and tasks that merge.
    pub(crate) fn census(&self) -> [usize; 2] {
        let tiles = self.shape.heads * self.shape.tiles();
        [tiles * self.shape.tiles(), tiles * (self.chains - 1)]
    }

    pub(crate) fn tasks(&self) -> usize {
        self.census().iter().sum()
    }

    /// Key tiles of a chain.
    fn keys(&self, chain: usize) -> Range<usize> {
        let tiles = self.shape.tiles();
        tiles * chain / self.chains..tiles * (chain + 1) / self.chains
    }

    /// Bytes of the slabs of one tile of queries.
    pub(crate) fn slab_bytes(&self) -> usize {
        let rows = self.shape.tile.min(self.shape.sequence);
        let slab = |values: usize| (values * size_of::<f32>()).next_multiple_of(1024);
        self.chains * (slab(rows * self.shape.dim) + 2 * slab(rows))
    }
}

/// The matrices where all chips reach them.
pub(crate) struct Matrices {
    pub(crate) q: Buffer<f32>,
    pub(crate) k: Buffer<f32>,
    pub(crate) v: Buffer<f32>,
    pub(crate) o: Buffer<f32>,
}

impl Matrices {
    pub(crate) fn new(exec: &Executor, problem: &Problem) -> Result<Self, Error> {
        let filled = |values: &[f32]| {
            let buffer = exec.buffer(values.len())?;
            buffer.copy_from_slice(values)?;
            Ok::<_, Error>(buffer)
        };
        let o = exec.buffer(problem.shape.values())?;
        Ok(Self { q: filled(&problem.q)?, k: filled(&problem.k)?, v: filled(&problem.v)?, o })
    }

    /// Forgets the last answer, so that it cannot be taken for the next one.
    pub(crate) fn spoil(&self) -> Result<(), Error> {
        self.o.copy_from_slice(&vec![f32::NAN; self.o.len()])
    }

    /// Bytes of all four.
    pub(crate) fn bytes(shape: &Shape) -> usize {
        4 * (shape.values() * size_of::<f32>()).next_multiple_of(64)
    }
}

/// Rows of one head in a buffer of all heads.
pub(crate) fn rows_of(
    buffer: &Buffer<f32>,
    shape: &Shape,
    head: usize,
    rows: Range<usize>,
) -> Result<ContinuousTensor, Error> {
    let first = head * shape.head_values() + rows.start * shape.dim;
    Ok(buffer.view(first, &[rows.len() as u32, shape.dim as u32])?)
}

/// O, m and l of a tile of queries, as far as its keys were taken in.
#[derive(Clone, Copy)]
struct State {
    o: ContinuousTensor,
    m: ContinuousTensor,
    l: ContinuousTensor,
}

/// Submits the graph once.
pub(crate) fn submit(
    orch: &mut Orchestrator,
    programs: Programs,
    plan: &Plan,
    matrices: &Matrices,
    options: &TaskOptions,
) -> Result<(), Error> {
    let graph = Graph { programs, plan, matrices, options };
    for head in 0..plan.shape.heads {
        for tile in 0..plan.shape.tiles() {
            // A scope for each tile: its state is gone once its tasks are through.
            orch.scope(|orch| graph.submit_tile(orch, head, tile))?;
        }
    }
    Ok(())
}

/// What the tasks of a run have in common.
struct Graph<'a> {
    programs: Programs,
    plan: &'a Plan,
    matrices: &'a Matrices,
    options: &'a TaskOptions,
}

impl Graph<'_> {
    /// All tasks of one tile of queries.
    fn submit_tile(&self, orch: &mut Orchestrator, head: usize, tile: usize) -> Result<(), Error> {
        let (plan, config) = (self.plan, CallConfig::default());
        let own = rows_of(&self.matrices.o, &plan.shape, head, plan.shape.rows(tile))?;
        let mut states = Vec::with_capacity(plan.chains);
        for chain in 0..plan.chains {
            // The first chain writes where the result belongs, the others into slabs.
            let o = if chain == 0 { own } else { fresh(own.shape())? };
            states.push(self.submit_chain(orch, (head, tile, chain), o)?);
        }
        let mut apart = 1;
        while apart < states.len() {
            for left in (0..states.len() - apart).step_by(2 * apart) {
                let (State { o, m, l }, other) = (states[left], states[left + apart]);
                let done = left == 0 && 2 * apart >= states.len();
                let args = TaskArgs::new().inout(o).inout(m).inout(l);
                let args = args.input(other.o).input(other.m).input(other.l);
                let args = args.scalar(if done { LAST } else { 0 });
                orch.submit_with(self.programs.merge, args, config, self.options)?;
            }
            apart *= 2;
        }
        Ok(())
    }

    /// Tasks that take the keys of one chain in, one after the other.
    fn submit_chain(
        &self,
        orch: &mut Orchestrator,
        (head, tile, chain): (usize, usize, usize),
        o: ContinuousTensor,
    ) -> Result<State, Error> {
        let (plan, shape, matrices) = (self.plan, &self.plan.shape, self.matrices);
        let queries = shape.rows(tile);
        let vector = fresh(&[queries.len() as u32])?;
        let mut state = State { o, m: vector, l: vector };
        for keys in plan.keys(chain) {
            let first = keys == plan.keys(chain).start;
            let last = plan.chains == 1 && keys + 1 == shape.tiles();
            let args = TaskArgs::new()
                .input(rows_of(&matrices.q, shape, head, queries.clone())?)
                .input(rows_of(&matrices.k, shape, head, shape.rows(keys))?)
                .input(rows_of(&matrices.v, shape, head, shape.rows(keys))?);
            let args = if first {
                // The submit allocates what has no address yet.
                args.output(state.o).output(state.m).output(state.l)
            } else {
                args.inout(state.o).inout(state.m).inout(state.l)
            };
            let flags = if first { FIRST } else { 0 } | if last { LAST } else { 0 };
            let args = args.scalar(scale_bits(shape)).scalar(flags).scalar(shape.tile as u64);
            let config = CallConfig::default();
            let handle = orch.submit_with(self.programs.attend, args, config, self.options)?;
            if first {
                let o = if o.data() == 0 { handle.tensor(3)? } else { o };
                state = State { o, m: handle.tensor(4)?, l: handle.tensor(5)? };
            }
        }
        Ok(state)
    }
}

/// A tensor that a submit is to allocate.
fn fresh(shape: &[u32]) -> Result<ContinuousTensor, Error> {
    Ok(ContinuousTensor::new(0, shape, DataType::Float32)?)
}

/// The scale as it travels: a float in the low half of a scalar.
pub(crate) fn scale_bits(shape: &Shape) -> u64 {
    u64::from((shape.scale() as f32).to_bits())
}

#[cfg(test)]
mod chip_tests {
    use super::*;

    fn plan(heads: usize, sequence: usize, tile: usize, chips: usize) -> Plan {
        Plan::new(Shape { heads, sequence, dim: 4, tile }, chips)
    }

    #[test]
    fn keys_are_cut_only_when_chips_would_be_idle() {
        assert_eq!(plan(8, 512, 64, 2).chains, 1);
        assert_eq!(plan(8, 512, 64, 2).census(), [512, 0]);
        assert_eq!(plan(1, 100, 100, 8).chains, 1); // one tile of keys cannot be cut
        let tree = plan(1, 100, 50, 3);
        assert_eq!((tree.chains, tree.census()), (2, [4, 2]));
        assert_eq!(plan(1, 70, 10, 3).chains, 1);
        assert_eq!(plan(1, 30, 10, 3).chains, 2);
    }

    #[test]
    fn chains_cover_every_tile_of_keys_once() {
        for chips in 1..=8 {
            let plan = plan(1, 29, 10, chips);
            let all: Vec<_> = (0..plan.chains).flat_map(|chain| plan.keys(chain)).collect();
            assert_eq!(all, [0, 1, 2], "{chips} chips");
            assert!((0..plan.chains).all(|chain| !plan.keys(chain).is_empty()));
        }
    }
}
