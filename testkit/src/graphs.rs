//! Graphs drawn from a seed as a list of steps, what their tasks do, and a run of them one after
//! the other in ordinary memory.
//!
//! Bodies mix all bytes they may read into all bytes they write, so a task that came too early, too
//! late, twice or with other arguments shows.

mod bench;

use mailring::Hazards;
use mailring::abi::{AbiError, TaskArgsView, TensorArgType};

pub use self::bench::Bench;
use crate::{Random, mix};

/// Bytes that all graphs of an executor work on; the last quarter is only read, under NO_DEP.
pub(crate) const BYTES: usize = 512;
const CONSTANT: usize = BYTES * 3 / 4;
/// Blocks of the compatible mode, which knows whole tensors by their first byte only.
const BLOCK: usize = 32;

/// The bytes of a tensor of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// In the buffer.
    Bytes { from: usize, len: usize },
    /// In the memory that alloc number `index` of the graph gave.
    Alloc { index: usize, from: usize, len: usize },
    /// Allocated by the submit; output number `index` of the graph.
    New { index: usize, len: usize },
    /// What an earlier task was given.
    Output { index: usize, from: usize, len: usize },
}

#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) place: Place,
    pub(crate) tag: TensorArgType,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Task {
        id: u64,
        members: Vec<Vec<Argument>>,
        group: bool,
        sub: bool,
        urgent: bool,
    },
    Alloc {
        len: usize,
    },
    Begin,
    End,
    /// Waits for the last task.
    Wait,
}

/// What graphs are drawn, and what runs them.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Workers of the executor, beside one SUB worker.
    pub workers: usize,
    /// How the executor infers dependencies; the graphs rest on no more.
    pub hazards: Hazards,
    /// Slots of the window.
    pub window: usize,
    /// Who ends workers meanwhile.
    pub deaths: Deaths,
}

/// Who ends workers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deaths {
    /// Nobody does.
    Nobody,
    /// Some bodies do, in their first attempt; never members of groups.
    Bodies,
    /// Somebody else, at any moment. Everything can be tried again.
    Outside,
}

// ---- drawing ------------------------------------------------------------------------------------

/// What exists while a graph is drawn.
struct Draw {
    random: Random,
    kind: Kind,
    steps: Vec<Step>,
    /// Lengths of allocated outputs and of allocs that may still be named: those of open scopes.
    outputs: Vec<(usize, usize)>,
    allocs: Vec<(usize, usize, bool)>,
    output_count: usize,
    alloc_count: usize,
}

pub(crate) fn draw(seed: u64, kind: Kind) -> Vec<Step> {
    let mut draw = Draw {
        random: Random(seed),
        kind,
        steps: Vec::new(),
        outputs: Vec::new(),
        allocs: Vec::new(),
        output_count: 0,
        alloc_count: 0,
    };
    let tasks = 1 + draw.random.below(24);
    draw.some(tasks, 0);
    draw.steps
}

impl Draw {
    fn some(&mut self, tasks: usize, depth: usize) {
        for _ in 0..tasks {
            match self.random.below(20) {
                0 | 1 if depth < 6 => {
                    let known = (self.outputs.len(), self.allocs.len());
                    self.steps.push(Step::Begin);
                    let inside = self.random.below(5);
                    self.some(inside, depth + 1);
                    self.steps.push(Step::End);
                    self.outputs.truncate(known.0);
                    self.allocs.truncate(known.1);
                }
                2 => {
                    let len = 1 + self.random.below(40);
                    self.steps.push(Step::Alloc { len });
                    self.allocs.push((self.alloc_count, len, false));
                    self.alloc_count += 1;
                }
                3 if self.random.chance(30) => self.steps.push(Step::Wait),
                _ => self.task(),
            }
        }
    }

    fn task(&mut self) {
        let id = self.random.next();
        let group = self.random.chance(15);
        let sub = !group && self.random.chance(20);
        let size = if group { 1 + self.random.below(self.kind.workers) } else { 1 };
        let mut members: Vec<Vec<Argument>> = Vec::new();
        for _ in 0..size {
            let mut member: Vec<Argument> = Vec::new();
            for _ in 0..self.random.below(5) {
                let argument = self.argument();
                // Members run at the same time: what one writes, no other may name.
                let clash = members.iter().flatten().any(|other: &Argument| {
                    overlap(other.place, argument.place)
                        && (writes(other.tag) || writes(argument.tag))
                });
                // And a task that writes a byte twice is refused.
                let twice = member.iter().any(|other: &Argument| {
                    overlap(other.place, argument.place)
                        && writes(other.tag)
                        && writes(argument.tag)
                });
                if !clash && !twice {
                    member.push(argument);
                }
            }
            for argument in &mut member {
                self.name_new(argument);
            }
            members.push(member);
        }
        if group && self.kind.deaths == Deaths::Outside {
            make_repeatable(&mut members);
        }
        let urgent = self.random.chance(20);
        self.steps.push(Step::Task { id, members, group, sub, urgent });
        // From now on later steps may name what this one was given, and allocs that it wrote.
        let Some(Step::Task { members, .. }) = self.steps.last() else { return };
        for argument in members.iter().flatten() {
            match argument.place {
                Place::New { index, len } => self.outputs.push((index, len)),
                Place::Alloc { index, from: 0, .. } if writes(argument.tag) => {
                    if let Some(alloc) = self.allocs.iter_mut().find(|a| a.0 == index) {
                        alloc.2 = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn name_new(&mut self, argument: &mut Argument) {
        if let Place::New { index, .. } = &mut argument.place {
            *index = self.output_count;
            self.output_count += 1;
        }
    }

    fn argument(&mut self) -> Argument {
        use TensorArgType::{InOut, Input, NoDep, Output, OutputExisting};
        let compatible = self.kind.hazards == Hazards::Compatible;
        // Compatible: no edge for what only overwrites, none for a write after a read. So writes
        // are INOUT there, and what is written is read by its writers only.
        let tag = match self.random.below(if compatible { 4 } else { 10 }) {
            0 if compatible => Output, // always a new one
            1..=2 if compatible => InOut,
            _ if compatible => NoDep,
            0..=2 => Input,
            3..=4 => Output,
            5..=6 => InOut,
            7..=8 => OutputExisting,
            _ => NoDep,
        };
        if tag == NoDep {
            let (from, len) = self.part(BYTES - CONSTANT);
            return Argument { place: Place::Bytes { from: CONSTANT + from, len }, tag };
        }
        if compatible && tag == InOut {
            let from = self.random.below(CONSTANT / BLOCK) * BLOCK;
            return Argument { place: Place::Bytes { from, len: BLOCK }, tag };
        }
        if tag == Output && (compatible || self.random.chance(40)) {
            let len = 1 + self.random.below(60);
            return Argument { place: Place::New { index: usize::MAX, len }, tag };
        }
        let choice = self.random.below(10);
        let place = if choice < 2 && !self.outputs.is_empty() {
            let (index, whole) = self.outputs[self.random.below(self.outputs.len())];
            let (from, len) = self.part(whole);
            Place::Output { index, from, len }
        } else if choice < 4 && !self.allocs.is_empty() {
            let (index, whole, written) = self.allocs[self.random.below(self.allocs.len())];
            if written {
                let (from, len) = self.part(whole);
                Place::Alloc { index, from, len }
            } else if matches!(tag, Output | OutputExisting) {
                // Its bytes are anything until all of them were written.
                Place::Alloc { index, from: 0, len: whole }
            } else {
                let (from, len) = self.part(CONSTANT);
                Place::Bytes { from, len }
            }
        } else {
            let (from, len) = self.part(CONSTANT);
            Place::Bytes { from, len }
        };
        Argument { place, tag }
    }

    /// Some bytes of `whole`: mostly short, so that both overlaps and gaps are common.
    fn part(&mut self, whole: usize) -> (usize, usize) {
        let most = if self.random.chance(80) { whole.min(24) } else { whole };
        let len = 1 + self.random.below(most);
        let from = self.random.below(whole - len + 1);
        // On a grid, half the time, so that whole ranges meet again exactly.
        if self.random.chance(50) && whole >= 16 {
            let grid = from / 8 * 8;
            return (grid, 8.min(whole - grid));
        }
        (from, len)
    }
}

fn writes(tag: TensorArgType) -> bool {
    matches!(tag, TensorArgType::Output | TensorArgType::InOut | TensorArgType::OutputExisting)
}

fn overlap(a: Place, b: Place) -> bool {
    let span = |place| match place {
        Place::Bytes { from, len } => Some((0, 0, from, len)),
        Place::Alloc { index, from, len } => Some((1, index, from, len)),
        Place::Output { index, from, len } => Some((2, index, from, len)),
        Place::New { .. } => None,
    };
    match (span(a), span(b)) {
        (Some((k, i, f, n)), Some((l, j, g, m))) => k == l && i == j && f < g + m && g < f + n,
        _ => false,
    }
}

/// Whether another attempt may find what an earlier one has left: nothing is read that the same
/// task writes.
pub(crate) fn is_repeatable(members: &[Vec<Argument>]) -> bool {
    let all = || members.iter().flatten();
    all().all(|one| {
        one.tag != TensorArgType::InOut
            && (writes(one.tag)
                || !all().any(|other| writes(other.tag) && overlap(one.place, other.place)))
    })
}

/// Groups cannot have a snapshot: they overwrite, and do not read what they write.
fn make_repeatable(members: &mut [Vec<Argument>]) {
    for argument in members.iter_mut().flatten() {
        if argument.tag == TensorArgType::InOut {
            argument.tag = TensorArgType::OutputExisting;
        }
    }
    let written: Vec<Place> =
        members.iter().flatten().filter(|a| writes(a.tag)).map(|a| a.place).collect();
    for member in &mut *members {
        member.retain(|a| writes(a.tag) || !written.iter().any(|&place| overlap(place, a.place)));
    }
    debug_assert!(is_repeatable(members));
}

// ---- what a task does ---------------------------------------------------------------------------

/// The tags travel as the last scalar, four bits each.
pub(crate) fn tag_bits(arguments: &[Argument]) -> u64 {
    arguments.iter().rev().fold(0, |bits, argument| bits << 4 | argument.tag as u64)
}

/// Reads what it may read and writes what it may write, all of it, first to last.
fn body(
    id: u64,
    tags: u64,
    count: usize,
    len: impl Fn(usize) -> usize,
    mut get: impl FnMut(usize, usize) -> u8,
    mut set: impl FnMut(usize, usize, u8),
) {
    let tag = |index: usize| tags >> (4 * index) & 0xf;
    let mut hash = mix(id);
    for index in 0..count {
        if matches!(tag(index), 0 | 2 | 4) {
            for at in 0..len(index) {
                hash = mix(hash ^ u64::from(get(index, at)) ^ (at as u64) << 8);
            }
        }
    }
    for index in 0..count {
        if matches!(tag(index), 1..=3) {
            for at in 0..len(index) {
                set(index, at, mix(hash ^ (index as u64) << 32 ^ at as u64) as u8);
            }
        }
    }
}

pub(crate) fn task(args: &TaskArgsView<'_>, count: usize) -> Result<(), AbiError> {
    let (id, tags) = (args.scalar(0)?, args.scalar(1)?);
    let mut parts = [(std::ptr::null_mut::<u8>(), 0); 8];
    for (index, part) in parts.iter_mut().enumerate().take(count) {
        *part = args.elements::<u8>(index)?;
    }
    // Volatile: arguments of one task may overlap each other.
    body(
        id,
        tags,
        count,
        |index| parts[index].1,
        // SAFETY: inside the tensor, by the loop in `body`.
        |index, at| unsafe { parts[index].0.add(at).read_volatile() },
        // SAFETY: as above.
        |index, at, value| unsafe { parts[index].0.add(at).write_volatile(value) },
    );
    Ok(())
}

// ---- one after the other ------------------------------------------------------------------------

#[derive(Default)]
pub(crate) struct Serial {
    pub(crate) bytes: Vec<u8>,
    pub(crate) outputs: Vec<Vec<u8>>,
    pub(crate) allocs: Vec<Vec<u8>>,
}

impl Serial {
    pub(crate) fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Alloc { len } => self.allocs.push(vec![0; *len]),
                Step::Task { id, members, .. } => {
                    for (nth, member) in members.iter().enumerate() {
                        for argument in member {
                            if let Place::New { index, len } = argument.place {
                                assert_eq!(index, self.outputs.len());
                                self.outputs.push(vec![0; len]);
                            }
                        }
                        self.member(id.wrapping_add(nth as u64), member);
                    }
                }
                Step::Begin | Step::End | Step::Wait => {}
            }
        }
    }

    fn member(&mut self, id: u64, arguments: &[Argument]) {
        let mut parts: Vec<*mut [u8]> = Vec::new();
        for argument in arguments {
            parts.push(match argument.place {
                Place::Bytes { from, len } => &raw mut self.bytes[from..from + len],
                Place::Alloc { index, from, len } => &raw mut self.allocs[index][from..from + len],
                Place::New { index, .. } => &raw mut self.outputs[index][..],
                Place::Output { index, from, len } => {
                    &raw mut self.outputs[index][from..from + len]
                }
            });
        }
        body(
            id,
            tag_bits(arguments),
            parts.len(),
            |index| parts[index].len(),
            // SAFETY: parts of vectors that nobody else touches meanwhile; inside by the loop.
            |index, at| unsafe { parts[index].cast::<u8>().add(at).read() },
            // SAFETY: as above.
            |index, at, value| unsafe { parts[index].cast::<u8>().add(at).write(value) },
        );
    }
}
