//! Attention as groups: each head is one task on all chips at the same time, and each chip has a
//! share of the keys.
//!
//! ```text
//!  member 0: keys 0 .. S/2                 member 1: keys S/2 .. S
//!  for every tile of queries
//!    attend -> partial O, m, l               attend -> partial O, m, l
//!    for as many rows as fit 64 bytes
//!      store own (m, l) ─────▶ barrier ◀───── store own (m, l)
//!      own weight from all (m, l)              own weight from all (m, l)
//!      ──────────────────────▶ barrier ◀────── (then the words are written again)
//!  ────────────────────────▶ barrier ◀──────── partial O and weights of all are there
//!  combine tiles 0, 2, ...                 combine tiles 1, 3, ...
//! ```

use std::error::Error as StdError;
use std::ops::Range;

use mailring::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs, TaskArgsView};
use mailring::chip::{ChipError, ChipRuntime, ChipWorker};
use mailring::limits::GROUP_SHARED_BYTES;
use mailring::{
    Callable, Cancelled, Error, GroupContext, Orchestrator, TaskContext, TaskOptions, Worker,
};

use super::data::Shape;
use super::graph::{Matrices, rows_of, scale_bits};
use super::programs::{FIRST, Programs};

type BodyError = Box<dyn StdError + Send + Sync>;

/// What a group task calls.
const HEAD: Callable = Callable(0);
/// Words that members share. A row of a member takes one: its maximum and its sum.
pub(crate) const WORDS: usize = GROUP_SHARED_BYTES / 8;

// Tensors of a member.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
/// What each member has found, tile by tile: `[members, rows, dim]` each.
const PARTIAL: usize = 3;
/// What that counts in the result: `[members, rows]` for each tile.
const WEIGHTS: usize = 4;
const O: usize = 5;

/// Rows that members can exchange at once.
pub(crate) fn rows_at_once(members: usize) -> usize {
    WORDS / members
}

/// Exchanges of one head.
pub(crate) fn exchanges(shape: &Shape, members: usize) -> usize {
    let each = rows_at_once(members);
    (0..shape.tiles()).map(|tile| shape.rows(tile).len().div_ceil(each)).sum()
}

/// Bytes of the slabs of one head.
pub(crate) fn slab_bytes(shape: &Shape, members: usize) -> usize {
    (shape.sequence * (shape.dim + 1) * members * size_of::<f32>()).next_multiple_of(1024) + 1024
}

/// Submits all heads once.
pub(crate) fn submit(
    orch: &mut Orchestrator,
    shape: &Shape,
    members: usize,
    matrices: &Matrices,
    options: &TaskOptions,
) -> Result<(), Error> {
    for head in 0..shape.heads {
        let options = options.clone().name(format!("head {head}"));
        orch.scope(|orch| {
            let args = members_of(orch, shape, members, matrices, head)?;
            orch.submit_group_with(HEAD, args, CallConfig::default(), &options).map(drop)
        })?;
    }
    Ok(())
}

/// The arguments of all members for one head.
fn members_of(
    orch: &mut Orchestrator,
    shape: &Shape,
    members: usize,
    matrices: &Matrices,
    head: usize,
) -> Result<Vec<TaskArgs>, Error> {
    let (rows, dim) = (shape.sequence as u32, shape.dim as u32);
    let partial = orch.alloc(&[members as u32, rows, dim], DataType::Float32)?;
    let weights = orch.alloc(&[members as u32, rows], DataType::Float32)?;
    let all = 0..shape.sequence;
    let mut args = Vec::with_capacity(members);
    for member in 0..members {
        let keys = shape.shard(member, members);
        // All members write to the last three, each to its own part.
        args.push(
            TaskArgs::new()
                .input(rows_of(&matrices.q, shape, head, all.clone())?)
                .input(rows_of(&matrices.k, shape, head, keys.clone())?)
                .input(rows_of(&matrices.v, shape, head, keys)?)
                .output(partial)
                .output(weights)
                .output(rows_of(&matrices.o, shape, head, all.clone())?),
        );
    }
    Ok(args)
}

/// The worker of a chip that takes part in groups: the engine's own chip worker, used in phases.
pub(crate) struct Member {
    chip: ChipWorker,
    runtime: ChipRuntime,
    programs: Programs,
    shape: Shape,
    /// Maxima and sums of the tile at hand.
    maxima: Vec<f32>,
    sums: Vec<f32>,
}

impl Member {
    /// Takes `device`, in the process of the worker.
    pub(crate) fn start(
        runtime: &ChipRuntime,
        device: i32,
        programs: Programs,
        shape: Shape,
    ) -> Result<Self, ChipError> {
        let (maxima, sums) = (vec![0.0; shape.tile], vec![0.0; shape.tile]);
        let chip = ChipWorker::start(runtime, device)?;
        Ok(Self { chip, runtime: runtime.clone(), programs, shape, maxima, sums })
    }

    fn call(
        &mut self,
        program: Callable,
        tensors: &[ContinuousTensor],
        scalars: &[u64],
        config: &CallConfig,
    ) -> Result<(), ChipError> {
        let args = TaskArgsView::from_slices(tensors, scalars);
        // SAFETY: tensors of the task, checked by its submit, and `maxima` and `sums` of this worker.
        unsafe { self.chip.run_callable_on(self.runtime.program(program)?, args, config) }
    }

    /// One tile of queries against the keys of this member, and what that counts in the whole.
    fn attend(
        &mut self,
        args: &TaskArgsView<'_>,
        config: &CallConfig,
        group: &GroupContext<'_>,
        rows: Range<usize>,
    ) -> Result<(), BodyError> {
        let (dim, height) = (self.shape.dim, rows.len());
        let place = Place { members: group.size(), rows: rows.clone() };
        let tensors = [
            part(args.tensor(Q)?, rows.start * dim, &[height, dim])?,
            *args.tensor(K)?,
            *args.tensor(V)?,
            part(args.tensor(PARTIAL)?, place.of(group.index()) * dim, &[height, dim])?,
            vector(&mut self.maxima, height)?,
            vector(&mut self.sums, height)?,
        ];
        let scalars = [scale_bits(&self.shape), FIRST, self.shape.tile as u64];
        self.call(self.programs.attend, &tensors, &scalars, config)?;
        let mut weights = Vec::with_capacity(height);
        exchange(group, &self.maxima[..height], &self.sums[..height], |weight| {
            weights.push(weight)
        })?;
        for (row, weight) in weights.into_iter().enumerate() {
            args.set(WEIGHTS, place.of(group.index()) + row, weight)?;
        }
        Ok(())
    }

    /// Adds up what all members have found for a tile of queries.
    fn combine(
        &mut self,
        args: &TaskArgsView<'_>,
        config: &CallConfig,
        members: usize,
        rows: Range<usize>,
    ) -> Result<(), BodyError> {
        let (dim, height) = (self.shape.dim, rows.len());
        let first = Place { members, rows: rows.clone() }.of(0);
        let tensors = [
            part(args.tensor(PARTIAL)?, first * dim, &[members, height, dim])?,
            part(args.tensor(WEIGHTS)?, first, &[members, height])?,
            part(args.tensor(O)?, rows.start * dim, &[height, dim])?,
        ];
        Ok(self.call(self.programs.combine, &tensors, &[], config)?)
    }
}

impl Worker for Member {
    fn run(
        &mut self,
        callable: u64,
        args: TaskArgsView<'_>,
        config: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), BodyError> {
        let group = context.group().filter(|_| callable == HEAD.0);
        let group =
            group.ok_or("this worker runs heads of attention, as groups, and nothing else")?;
        let (me, members) = (group.index(), group.size());
        for tile in 0..self.shape.tiles() {
            self.attend(&args, config, group, self.shape.rows(tile))?;
        }
        group.barrier()?;
        for tile in (me..self.shape.tiles()).step_by(members) {
            self.combine(&args, config, members, self.shape.rows(tile))?;
        }
        Ok(())
    }
}

/// Where a tile of queries lies in what members have found: all members of it side by side.
struct Place {
    members: usize,
    rows: Range<usize>,
}

impl Place {
    /// The first row of a member.
    fn of(&self, member: usize) -> usize {
        self.members * self.rows.start + member * self.rows.len()
    }
}

/// Tells all members the maximum and sum of each row, in as many steps as it takes, and hands out
/// what this member's part counts in the whole, row by row.
fn exchange(
    group: &GroupContext<'_>,
    maxima: &[f32],
    sums: &[f32],
    mut weight: impl FnMut(f32),
) -> Result<(), Cancelled> {
    let (me, members) = (group.index(), group.size());
    let each = rows_at_once(members).max(1);
    for (maxima, sums) in maxima.chunks(each).zip(sums.chunks(each)) {
        for (row, (&maximum, &sum)) in maxima.iter().zip(sums).enumerate() {
            group.store(me * each + row, pack(maximum, sum));
        }
        group.barrier()?;
        for row in 0..maxima.len() {
            weight(weight_of(me, members, |member| unpack(group.load(member * each + row))));
        }
        group.barrier()?; // the next step writes to the same words
    }
    Ok(())
}

/// What a member's part counts: its share of all that was summed, relative to one maximum.
fn weight_of(me: usize, members: usize, state: impl Fn(usize) -> (f32, f32)) -> f32 {
    let states = || (0..members).map(&state).map(|(m, l)| (f64::from(m), f64::from(l)));
    let greatest = states().map(|(m, _)| m).fold(f64::NEG_INFINITY, f64::max);
    let whole: f64 = states().map(|(m, l)| l * (m - greatest).exp()).sum();
    ((f64::from(state(me).0) - greatest).exp() / whole) as f32
}

fn pack(maximum: f32, sum: f32) -> u64 {
    u64::from(maximum.to_bits()) << 32 | u64::from(sum.to_bits())
}

fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

/// A part of a tensor of floats, from element `first` on.
fn part(
    whole: &ContinuousTensor,
    first: usize,
    shape: &[usize],
) -> Result<ContinuousTensor, BodyError> {
    let shape: Vec<u32> = shape.iter().map(|&n| u32::try_from(n)).collect::<Result<_, _>>()?;
    let skipped = (first as u64).saturating_mul(size_of::<f32>() as u64);
    let address = whole.data().saturating_add(skipped);
    let part = ContinuousTensor::new(address, &shape, DataType::Float32)?;
    let (end, have) = ((first as u64).saturating_add(part.elements()?), whole.elements()?);
    if whole.dtype()? != DataType::Float32 || end > have {
        return Err(format!("elements up to {end} of a tensor that has {have} floats").into());
    }
    Ok(part)
}

/// Memory of this worker as a tensor.
fn vector(values: &mut [f32], length: usize) -> Result<ContinuousTensor, AbiError> {
    let values = values.get_mut(..length);
    let count = length;
    let values = values.ok_or(AbiError::OutOfRange { what: "element", index: length, count })?;
    let address = values.as_mut_ptr().expose_provenance() as u64;
    ContinuousTensor::new(address, &[length as u32], DataType::Float32)
}

#[cfg(test)]
mod chip_tests {
    use std::sync::Mutex;

    use mailring::Executor;
    use mailring::Mode;

    use super::*;

    #[test]
    fn a_word_holds_a_maximum_and_a_sum() {
        for (maximum, sum) in [(1.5, 2.25), (-0.0, f32::MAX), (f32::NEG_INFINITY, 0.0)] {
            let back = unpack(pack(maximum, sum));
            assert_eq!((back.0.to_bits(), back.1.to_bits()), (maximum.to_bits(), sum.to_bits()));
        }
    }

    #[test]
    fn tiles_and_members_lie_side_by_side() {
        let shape = Shape { heads: 1, sequence: 7, dim: 1, tile: 3 };
        let mut next = 0;
        for tile in 0..shape.tiles() {
            for member in 0..3 {
                let place = Place { members: 3, rows: shape.rows(tile) };
                assert_eq!(place.of(member), next, "tile {tile}, member {member}");
                next += shape.rows(tile).len();
            }
        }
        assert_eq!(next, 3 * 7);
    }

    #[test]
    fn exchanges_are_as_many_as_rows_need() {
        let shape = Shape { heads: 1, sequence: 70, dim: 1, tile: 32 };
        let counts: Vec<_> = (1..=8).map(|members| exchanges(&shape, members)).collect();
        assert_eq!(counts, [9, 18, 35, 35, 70, 70, 70, 70]);
    }

    #[test]
    fn a_part_is_inside_the_whole() {
        let whole = ContinuousTensor::new(4096, &[4, 3], DataType::Float32).expect("a tensor");
        let row = part(&whole, 9, &[1, 3]).expect("the last row");
        assert_eq!((row.data(), row.shape()), (4096 + 36, &[1, 3][..]));
        assert!(part(&whole, 10, &[1, 3]).is_err());
        assert!(part(&whole, usize::MAX, &[1]).is_err());
        let bytes = ContinuousTensor::new(4096, &[12], DataType::Int8).expect("a tensor");
        assert!(part(&bytes, 0, &[1]).is_err());
    }

    /// In THREAD mode, since a test runs beside the threads of other tests.
    #[test]
    fn all_members_agree_on_every_row() {
        const ROWS: usize = 11;
        for members in [1usize, 2, 3, 5] {
            let state = |member: usize, row: usize| {
                ((member * 7 + row * 3) as f32 % 5.0 - 2.0, 1.0 + (member + row) as f32)
            };
            let found = std::sync::Arc::new(Mutex::new(vec![Vec::new(); members]));
            let seen = std::sync::Arc::clone(&found);
            let mut builder = Executor::builder().mode(Mode::Thread).workers(members);
            let body = builder.register("exchange", move |_, _, context| {
                let group = context.group().ok_or("no group")?;
                let (m, l): (Vec<f32>, Vec<f32>) =
                    (0..ROWS).map(|row| state(group.index(), row)).unzip();
                let mut weights = Vec::new();
                exchange(group, &m, &l, |weight| weights.push(weight))?;
                seen.lock().map_err(|_| "poisoned")?[group.index()] = weights;
                Ok::<(), BodyError>(())
            });
            let body = body.expect("register");
            let exec = builder.build().expect("build");
            let args = vec![TaskArgs::new(); members];
            exec.run(|orch| orch.submit_group(body, args, CallConfig::default())).expect("run");
            let found = found.lock().expect("weights");
            for row in 0..ROWS {
                let part = |member: usize| {
                    let (m, l) = state(member, row);
                    f64::from(m).exp() * f64::from(l)
                };
                let whole: f64 = (0..members).map(part).sum();
                for member in 0..members {
                    let weight = f64::from(found[member][row]);
                    let want = f64::from(state(member, row).0).exp() / whole;
                    assert!((weight - want).abs() < 1e-6, "{members} members, row {row}");
                }
            }
        }
    }
}
