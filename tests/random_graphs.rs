//! Random graphs against a sequential run of the same graph: every byte must be the same.
//!
//! A graph is drawn from a seed as a list of steps. The steps are submitted to an executor, and
//! done one after the other in ordinary memory. Bodies mix all bytes they may read into all bytes
//! they write, so a task that came too early, too late, twice or with other arguments shows.
//!
//! `MAILRING_GRAPHS` says how many are drawn in all; `MAILRING_SEED` replays one.

#[macro_use]
mod common;

use std::time::{Duration, Instant};

use mailring::abi::{AbiError, ContinuousTensor, DataType, TaskArgs, TaskArgsView, TensorArgType};
use mailring::{
    Buffer, Callable, Error, Executor, Hazards, Mode, Orchestrator, TaskHandle, TaskOptions,
};

use common::kit::{BOTH, Random, config, mix, small};

tests! {
    "random_graphs" in crate {
        one_worker, two_workers, three_workers, four_workers, in_a_small_window,
        compatible_whole_blocks, with_kills,
    }
}

/// Bytes that all graphs of an executor work on; the last quarter is only read, under NO_DEP.
const BYTES: usize = 512;
const CONSTANT: usize = BYTES * 3 / 4;
/// Blocks of the compatible mode, which knows whole tensors by their first byte only.
const BLOCK: usize = 32;

/// The bytes of a tensor of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
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
struct Argument {
    place: Place,
    tag: TensorArgType,
}

#[derive(Clone, Debug)]
enum Step {
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

#[derive(Clone, Copy)]
struct Kind {
    workers: usize,
    hazards: Hazards,
    window: usize,
    kills: bool,
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

fn draw(seed: u64, kind: Kind) -> Vec<Step> {
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
                if !clash {
                    member.push(argument);
                }
            }
            for argument in &mut member {
                self.name_new(argument);
            }
            members.push(member);
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

// ---- what a task does ---------------------------------------------------------------------------

/// The tags travel as the last scalar, four bits each.
fn tag_bits(arguments: &[Argument]) -> u64 {
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

fn task(args: TaskArgsView<'_>) -> Result<(), AbiError> {
    let (id, tags) = (args.scalar(0)?, args.scalar(1)?);
    let count = args.tensors().len();
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

struct Serial {
    bytes: Vec<u8>,
    outputs: Vec<Vec<u8>>,
    allocs: Vec<Vec<u8>>,
}

impl Serial {
    fn run(&mut self, steps: &[Step]) {
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

// ---- through the executor -----------------------------------------------------------------------

struct Bench {
    exec: Executor,
    mixer: Callable,
    data: Buffer<u8>,
    kind: Kind,
}

impl Bench {
    fn new(kind: Kind, mode: Mode) -> Self {
        let mut builder = small(mode, kind.workers)
            .sub_workers(1)
            .slot_window(kind.window)
            .heap_bytes(256 << 10)
            .buffer_bytes(1 << 20)
            .hazards(kind.hazards);
        let kills = kind.kills;
        let mixer = builder
            .register("mixer", move |args, _, context| {
                let single = context.group().is_none();
                if kills && single && context.attempt() == 1 && args.scalar(0)? % 97 < 3 {
                    if args.scalar(0)? % 2 == 0 {
                        task(args)?; // all written, and then not said
                    }
                    // SAFETY: passes no pointers.
                    unsafe { libc::raise(libc::SIGKILL) };
                }
                task(args)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer(BYTES).unwrap();
        Self { exec, mixer, data, kind }
    }

    fn check(&self, seed: u64, mode: Mode) {
        let steps = draw(seed, self.kind);
        let mut bytes: Vec<u8> = (0..BYTES as u64).map(|i| mix(seed ^ i) as u8).collect();
        self.data.copy_from_slice(&bytes).unwrap();
        let mut serial =
            Serial { bytes: std::mem::take(&mut bytes), outputs: vec![], allocs: vec![] };
        serial.run(&steps);
        let ran = self.exec.run(|orch| {
            let mut names = Names::default();
            for step in &steps {
                self.step(orch, step, &mut names)?;
            }
            Ok(())
        });
        let replay = || format!("MAILRING_SEED={seed} ({mode:?}, {} workers)", self.kind.workers);
        if let Err(error) = ran {
            panic!("{}: {error}\n{steps:#?}", replay());
        }
        let got = self.data.to_vec();
        if let Some(at) = (0..BYTES).find(|&at| got[at] != serial.bytes[at]) {
            panic!("{}: byte {at} differs\n{steps:#?}", replay());
        }
    }

    fn step(&self, orch: &mut Orchestrator, step: &Step, names: &mut Names) -> Result<(), Error> {
        match step {
            Step::Begin => orch.scope_begin(),
            Step::End => orch.scope_end(),
            Step::Wait => names.last.as_ref().map_or(Ok(()), |last| orch.wait(last)),
            Step::Alloc { len } => {
                let tensor = orch.alloc(&[*len as u32], DataType::Uint8)?;
                names.allocs.push(tensor.data());
                Ok(())
            }
            Step::Task { id, members, group, sub, urgent } => {
                let mut all = Vec::new();
                for (nth, member) in members.iter().enumerate() {
                    let mut args = TaskArgs::new();
                    for argument in member {
                        args.add_tensor(self.tensor(argument.place, names)?, argument.tag)?;
                    }
                    all.push(args.scalar(id.wrapping_add(nth as u64)).scalar(tag_bits(member)));
                }
                let handle = self.submit(orch, all, (*group, *sub, *urgent))?;
                let arguments = members.iter().flatten().enumerate();
                for (index, argument) in arguments {
                    if let Place::New { index: number, .. } = argument.place {
                        assert_eq!(number, names.outputs.len());
                        names.outputs.push(handle.tensor(index)?.data());
                    }
                }
                names.last = Some(handle);
                Ok(())
            }
        }
    }

    fn submit(
        &self,
        orch: &mut Orchestrator,
        mut all: Vec<TaskArgs>,
        (group, sub, urgent): (bool, bool, bool),
    ) -> Result<TaskHandle, Error> {
        let mut options = if sub { TaskOptions::sub() } else { TaskOptions::new() };
        if urgent {
            options = options.priority(mailring::Priority::Urgent);
        }
        if self.kind.kills && !group {
            // Bodies read what they overwrite, so only a snapshot makes another attempt right.
            options = options.retries(2).snapshot();
        }
        if group {
            orch.submit_group_with(self.mixer, all, config(), &options)
        } else {
            let args = all.pop().unwrap_or_default();
            orch.submit_with(self.mixer, args, config(), &options)
        }
    }

    fn tensor(&self, place: Place, names: &Names) -> Result<ContinuousTensor, AbiError> {
        let (address, len) = match place {
            Place::Bytes { from, len } => (self.data.address() + from as u64, len),
            Place::Alloc { index, from, len } => (names.allocs[index] + from as u64, len),
            Place::New { len, .. } => (0, len),
            Place::Output { index, from, len } => (names.outputs[index] + from as u64, len),
        };
        ContinuousTensor::new(address, &[len as u32], DataType::Uint8)
    }
}

/// Addresses that the executor gave.
#[derive(Default)]
struct Names {
    outputs: Vec<u64>,
    allocs: Vec<u64>,
    last: Option<TaskHandle>,
}

// ---- the tests ----------------------------------------------------------------------------------

/// `share` of a hundred of all graphs, half of them in each mode.
fn check_many(share: u64, first: u64, kind: Kind) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let modes = if kind.kills { &BOTH[..1] } else { &BOTH[..] };
    for &mode in modes {
        let bench = Bench::new(kind, mode);
        if let Some(seed) = number("MAILRING_SEED") {
            (0..50).for_each(|_| bench.check(seed, mode));
            continue;
        }
        let count = number("MAILRING_GRAPHS").unwrap_or(10_000) * share / 100;
        let from = first << 48 | (mode as u64) << 47;
        let began = Instant::now();
        for seed in from..from + count.div_ceil(modes.len() as u64) {
            bench.check(seed, mode);
            assert!(began.elapsed() < Duration::from_secs(36_000));
        }
        println!("{mode:?}: {count} graphs in {:?}, {:?}", began.elapsed(), bench.exec.stats());
    }
}

const PLAIN: Kind = Kind { workers: 2, hazards: Hazards::Strict, window: 256, kills: false };

fn one_worker() {
    check_many(15, 1, Kind { workers: 1, ..PLAIN });
}

fn two_workers() {
    check_many(20, 2, PLAIN);
}

fn three_workers() {
    check_many(20, 3, Kind { workers: 3, ..PLAIN });
}

fn four_workers() {
    check_many(20, 4, Kind { workers: 4, ..PLAIN });
}

fn in_a_small_window() {
    check_many(10, 5, Kind { workers: 3, window: 16, ..PLAIN });
}

/// The reference's tag table orders less, so the graphs drawn for it rest on less.
fn compatible_whole_blocks() {
    check_many(12, 6, Kind { workers: 3, hazards: Hazards::Compatible, ..PLAIN });
}

/// Bodies die before, or right after they have written everything.
fn with_kills() {
    check_many(3, 7, Kind { workers: 3, kills: true, ..PLAIN });
}
