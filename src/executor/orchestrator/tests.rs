//! The submit in one pass beside the general one: two executors are given the same submits, at random,
//! and have to say and publish the same. A replay beside a fresh submission: the same edges.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use testkit::Random;

use super::*;
use crate::Mode;
use crate::abi::Element;
use crate::executor::open::OpenRun;
use crate::executor::{Buffer, Executor};

/// Elements of each buffer.
const LEN: usize = 12;
const BUFFERS: usize = 3;

struct Side {
    exec: Executor,
    buffers: Vec<Buffer<u64>>,
    /// Does nothing; fails; stays until the gate opens; takes slices, or nothing as well.
    callables: [Callable; 4],
    open: Arc<AtomicBool>,
    inside: Arc<AtomicBool>,
    /// Outputs that were allocated in the run.
    slabs: RefCell<Vec<ContinuousTensor>>,
}

impl Side {
    fn new(typed: bool) -> Self {
        let mut builder = Executor::builder().mode(Mode::Thread).workers(1).slot_window(64);
        let [open, inside] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()));
        let fails = builder.register("fails", |_, _, _| Err::<(), _>("it fails"));
        let gate = (Arc::clone(&open), Arc::clone(&inside));
        let stay = builder.register("stay", move |_, _, _| {
            gate.1.store(true, SeqCst);
            while !gate.0.load(SeqCst) {
                std::thread::yield_now();
            }
            Ok::<(), AbiError>(())
        });
        let other = match typed {
            true => builder.register_typed("slices", |_, _| Ok(())),
            false => builder.register("other", |_, _, _| Ok::<(), AbiError>(())),
        };
        let callables = [empty, fails, stay, other].map(Result::unwrap);
        let exec = builder.build().unwrap();
        let buffers = (0..BUFFERS).map(|_| exec.buffer(LEN).unwrap()).collect();
        Self { exec, buffers, callables, open, inside, slabs: RefCell::default() }
    }

    fn tensor(&self, drawn: &Drawn) -> ContinuousTensor {
        let offset = drawn.cell as u64 * 8;
        let slabs = self.slabs.borrow();
        let address = match drawn.place {
            Place::Slab { part } if !slabs.is_empty() => {
                let slab = slabs[drawn.cell % slabs.len()];
                if !part {
                    return slab;
                }
                slab.data()
            }
            Place::Cell | Place::Slab { .. } => self.buffers[drawn.buffer].address() + offset,
            Place::Null => 0,
            Place::Nowhere => 8 + offset,
        };
        ContinuousTensor::new(address, &[drawn.len], u64::DTYPE).unwrap()
    }

    /// An address as it reads in any executor.
    fn relative(&self, address: u64) -> String {
        for (index, buffer) in self.buffers.iter().enumerate() {
            let offset = address.wrapping_sub(buffer.address());
            if offset < LEN as u64 * 8 {
                return format!("{index}+{offset}");
            }
        }
        let slabs = self.slabs.borrow();
        match slabs.iter().position(|slab| slab.data() == address) {
            Some(index) => format!("slab {index}"),
            None if address > 1000 => "slab".to_owned(),
            None => address.to_string(),
        }
    }

    fn args(&self, task: &Task) -> TaskArgs {
        let mut args = TaskArgs::new();
        for (drawn, tag) in &task.tensors {
            args.push_tensor(self.tensor(drawn), *tag);
        }
        for &scalar in &task.scalars {
            args.add_scalar(scalar);
        }
        if task.misplaced { args.scalar(1).input(self.tensor(&task.tensors[0].0)) } else { args }
    }

    /// What came of it, an error or what was published; and who uses what then.
    fn submit(&self, orch: &mut OpenRun, task: &Task) -> String {
        let (callable, args) = (self.callables[task.callable], self.args(task));
        let config = CallConfig::new(3, 1);
        let mut options = TaskOptions { kind: task.kind, ..TaskOptions::default() };
        if task.named {
            options = options.name("named");
        }
        let needs = Needs { edges: 70, ..Needs::default() };
        let room = orch.in_flight.window().has_room(16, needs);
        let submitted = if callable.is_typed() && task.typed && room {
            let parameters: Vec<u8> = (1..=task.tensors.len() as u8).collect();
            orch.submit_typed_task(callable, args, &options, &parameters)
        } else if room {
            orch.submit_with(callable, args, config, &options)
        } else {
            // Until nothing fits any more.
            orch.try_submit(callable, args, config).map_err(|refused| refused.error)
        };
        let mut said = match submitted {
            Ok(handle) => {
                let named: Vec<usize> =
                    (0..8).filter(|&index| handle.tensor(index).is_ok()).collect();
                let all = named.iter().map(|&index| handle.tensor(index).unwrap());
                self.slabs.borrow_mut().extend(all.filter(|tensor| tensor.data() != 0));
                format!("{} {named:?}", self.published(orch, handle.seq))
            }
            Err(error) => without_addresses(&format!("{error:?}")),
        };
        let mut number = 0;
        while let Some(record) = orch.planner.buffers().record(number) {
            let _ = write!(said, " [{} {}]", record.last_use(), record.last_write());
            number += 1;
        }
        said
    }

    fn published(&self, orch: &Orchestrator, seq: u64) -> String {
        let window = orch.in_flight.window();
        let (task, mut producers, failed_root) = window.published.last().unwrap().clone();
        assert_eq!(task, seq);
        producers.sort_unstable();
        let head = window.head(seq);
        // SAFETY: nobody has taken the slot for another task since.
        let view = unsafe { window.descriptors().args(window.place(seq), &head, 0) };
        let mut said = format!("{seq} {producers:?} {failed_root:#x} {:?}", head.route);
        for tensor in view.tensors() {
            let (address, shape) = (self.relative(tensor.data()), tensor.shape());
            let _ = write!(said, " {address} {shape:?} {}", tensor.is_read_only());
        }
        let _ = write!(said, " {:?} {}", view.scalars(), head.config.block_dim);
        said
    }

    /// A run: tasks that are through when the others come, of which some may have failed; then more
    /// than there is room for, while the worker stays in one. The second is how many went in one pass.
    fn run(&self, random: &mut Random, off: bool) -> (Vec<String>, usize) {
        self.slabs.borrow_mut().clear();
        let mut orch = self.exec.begin().unwrap();
        (orch.one_pass.off, orch.one_pass.taken) = (off, 0);
        let mut said = Vec::new();
        let fails = random.chance(30);
        for at in 0..6 {
            let task = Task { callable: usize::from(fails && at < 2), ..draw(random) };
            said.push(self.submit(&mut orch, &task));
            orch.drain(None).unwrap();
            assert_eq!(orch.in_flight.window().active(), 0);
        }
        self.open.store(false, SeqCst);
        self.inside.store(false, SeqCst);
        let cell = random.below(LEN);
        let cell = self.buffers[random.below(BUFFERS)].view(cell, &[1]).unwrap();
        let stay = TaskArgs::new().output(cell); // not with a producer that failed
        orch.submit(self.callables[2], stay, CallConfig::default()).unwrap();
        while !self.inside.load(SeqCst) {
            std::thread::yield_now();
        }
        let guard = random.chance(20).then(|| self.buffers[0].read());
        let guard = guard.and_then(Result::ok); // the task may have it
        said.push(format!("guarded: {}", guard.is_some()));
        for at in 0..80 {
            if at == 20 {
                said.push("no guard".to_owned());
            }
            said.push(self.submit(&mut orch, &draw(random)));
        }
        drop(guard);
        self.open.store(true, SeqCst);
        let taken = orch.one_pass.taken;
        let _ = orch.end(); // with the failure, if any
        (said, taken)
    }
}

/// Addresses differ from one executor to the other; all other numbers are short.
fn without_addresses(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() < 12 || word.contains(char::is_lowercase)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Cell,
    /// One of the outputs that were allocated, or the first element of it.
    Slab {
        part: bool,
    },
    Null,
    Nowhere,
}

#[derive(Debug)]
struct Drawn {
    place: Place,
    buffer: usize,
    cell: usize,
    len: u32,
}

#[derive(Debug)]
struct Task {
    callable: usize,
    kind: WorkerKind,
    typed: bool,
    named: bool,
    misplaced: bool,
    tensors: Vec<(Drawn, TensorArgType)>,
    scalars: Vec<u64>,
}

/// Mostly a few cells that are there; sometimes anything else.
fn draw(random: &mut Random) -> Task {
    use TensorArgType::{InOut, Input, NoDep, Output, OutputExisting};
    const TAGS: [TensorArgType; 7] = [Input, Input, Input, Output, InOut, OutputExisting, NoDep];
    let count = if random.chance(90) { 1 + random.below(3) } else { 4 + random.below(4) };
    let tensors: Vec<_> = (0..count)
        .map(|_| {
            let tag = TAGS[random.below(TAGS.len())];
            let (place, tag) = match random.below(60) {
                0 => (Place::Null, tag),
                1 => (Place::Nowhere, tag),
                2..=7 => (Place::Null, Output),
                8..=15 => (Place::Slab { part: random.chance(20) }, tag),
                _ => (Place::Cell, tag),
            };
            let len = if random.chance(92) { 1 } else { random.below(4) as u32 };
            let drawn =
                Drawn { place, buffer: random.below(BUFFERS), cell: random.below(LEN), len };
            (drawn, tag)
        })
        .collect();
    Task {
        callable: if random.chance(85) { 0 } else { 3 },
        kind: if random.chance(97) { WorkerKind::NextLevel } else { WorkerKind::Sub },
        typed: random.chance(80),
        named: random.chance(5),
        misplaced: random.chance(2),
        tensors,
        scalars: (0..random.below(3)).map(|_| random.next()).collect(),
    }
}

#[test]
fn one_pass_does_what_the_general_submit_does() {
    for typed in [false, true] {
        let [one, general] = [Side::new(typed), Side::new(typed)];
        let mut usual = 0;
        for seed in 0..60 {
            let (said, taken) = one.run(&mut Random(seed), false);
            let (expected, none) = general.run(&mut Random(seed), true);
            assert_eq!(none, 0);
            usual += taken;
            for (at, (said, expected)) in said.iter().zip(&expected).enumerate() {
                assert_eq!(said, expected, "submit {at} of run {seed}, typed: {typed}");
            }
        }
        assert!(usual > 500, "only {usual} went in one pass");
    }
}

/// Tasks in the order of the seed: on parts of buffers, and on what others of them have allocated.
fn graph(side: &Side, orch: &mut Orchestrator, seed: u64) -> Result<(), Error> {
    use TensorArgType::{InOut, Input, NoDep, Output, OutputExisting};
    let mut random = Random(seed);
    let mut slabs: Vec<ContinuousTensor> = Vec::new();
    for _ in 0..40 {
        let mut args = TaskArgs::new();
        for buffer in side.buffers.iter().filter(|_| random.chance(50)).collect::<Vec<_>>() {
            let (from, tag) = (random.below(LEN), random.below(5));
            let len = 1 + random.below(LEN - from) as u32;
            let tag = [Input, Input, InOut, OutputExisting, NoDep][tag];
            args.push_tensor(buffer.view(from, &[len])?, tag);
        }
        if !slabs.is_empty() && random.chance(40) {
            let slab = slabs[random.below(slabs.len())];
            args.push_tensor(slab, [Input, InOut][random.below(2)]);
        }
        if random.chance(30) {
            args.push_tensor(ContinuousTensor::new(0, &[2], u64::DTYPE)?, Output);
        }
        let made = args.tensors().iter().position(|tensor| tensor.data() == 0);
        let task = orch.submit(side.callables[0], args, CallConfig::default())?;
        if let Some(made) = made {
            slabs.push(task.tensor(made)?);
        }
    }
    Ok(())
}

/// Whom each task waits for, of those that came behind the one in which the only worker stays; that one
/// writes a part of each buffer.
fn edges(
    side: &Side,
    submit: impl FnOnce(&mut Orchestrator) -> Result<(), Error>,
) -> Vec<(u64, Vec<(u64, bool)>)> {
    side.open.store(false, SeqCst);
    side.inside.store(false, SeqCst);
    let mut orch = side.exec.begin().unwrap();
    let parts = side.buffers.iter().map(|buffer| buffer.view(2, &[3]).unwrap());
    let stay = parts.fold(TaskArgs::new(), TaskArgs::output);
    let first = orch.submit(side.callables[2], stay, CallConfig::default()).unwrap().seq;
    while !side.inside.load(SeqCst) {
        std::thread::yield_now();
    }
    orch.in_flight.window_mut().published.clear();
    submit(&mut orch).unwrap();
    let published = std::mem::take(&mut orch.in_flight.window_mut().published);
    side.open.store(true, SeqCst);
    orch.end().unwrap();
    let relative = |(task, mut producers, _): (u64, Vec<Producer>, u64)| {
        producers.sort_unstable();
        (task - first, producers.iter().map(|p| (p.task - first, p.data)).collect())
    };
    published.into_iter().map(relative).collect()
}

#[test]
fn a_replay_has_the_edges_of_a_fresh_submission() {
    let side = Side::new(false);
    for seed in 0..50 {
        let fresh = edges(&side, |orch| graph(&side, orch, seed));
        let (_, recording) = side.exec.record(|orch| graph(&side, orch, seed)).unwrap();
        let bindings = recording.bindings();
        for _ in 0..2 {
            let again = edges(&side, |orch| orch.replay(&recording, &bindings).map(drop));
            assert_eq!(again, fresh, "graph {seed}");
        }
        assert_eq!(fresh.len(), 40);
    }
}
