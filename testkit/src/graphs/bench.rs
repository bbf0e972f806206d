//! Drawn graphs through an executor, compared byte by byte with the sequential run.

use std::sync::atomic::Ordering::SeqCst;

use mailring::abi::{AbiError, ContinuousTensor, DataType, TaskArgs, TaskArgsView, TensorArgType};
use mailring::{
    Buffer, Callable, Error, Executor, Hazards, InvalidReplay, Mode, Orchestrator, TaskContext,
    TaskHandle, TaskOptions,
};

use super::{
    Argument, BLOCK, BYTES, CONSTANT, Deaths, Kind, Place, Serial, Step, draw, is_repeatable,
    tag_bits, task,
};
use crate::{atom, config, mix, raise, small};

/// Members that a graph may have in all, where they are counted.
const MEMBERS: usize = 1024;

/// An executor that runs drawn graphs.
pub struct Bench {
    /// The executor, for its numbers and its workers.
    pub exec: Executor,
    mixer: Callable,
    data: Buffer<u8>,
    /// What takes its place in replays.
    other: Buffer<u8>,
    /// Where kills come from outside: for each member the attempts that began, a bit each; then
    /// for each whether one came to its end; then attempts that began twice.
    ledger: Buffer<u64>,
    kind: Kind,
}

impl Bench {
    /// An executor for graphs of this kind.
    pub fn new(kind: Kind, mode: Mode) -> Self {
        let mut builder = small(mode, kind.workers)
            .sub_workers(1)
            .slot_window(kind.window)
            .heap_bytes(256 << 10)
            .buffer_bytes(1 << 20)
            .hazards(kind.hazards);
        let mixer = builder
            .register("mixer", move |args, _, context| {
                let tensors = args.tensors().len();
                if kind.deaths == Deaths::Outside {
                    return counted(&args, tensors - 1, context);
                }
                let single = context.group().is_none();
                let dies = kind.deaths == Deaths::Bodies && single && context.attempt() == 1;
                if dies && args.scalar(0)? % 97 < 3 {
                    if args.scalar(0)? % 2 == 0 {
                        task(&args, tensors)?; // all written, and then not said
                    }
                    raise(libc::SIGKILL);
                }
                task(&args, tensors)
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer(BYTES).unwrap();
        let ledger = exec.buffer(2 * MEMBERS + 1).unwrap();
        let other = exec.buffer(BYTES).unwrap();
        Self { exec, mixer, data, other, ledger, kind }
    }

    /// Runs the graph both ways and compares.
    pub fn check(&self, seed: u64, mode: Mode) {
        let steps = draw(seed, self.kind);
        let bytes: Vec<u8> = (0..BYTES as u64).map(|i| mix(seed ^ i) as u8).collect();
        self.data.copy_from_slice(&bytes).unwrap();
        let mut serial = Serial { bytes, ..Serial::default() };
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
        let got = self.data.to_vec().unwrap();
        if let Some(at) = (0..BYTES).find(|&at| got[at] != serial.bytes[at]) {
            panic!("{}: byte {at} differs\n{steps:#?}", replay());
        }
        if self.kind.deaths == Deaths::Outside {
            let (lost, twice) = self.count(&steps);
            assert_eq!((lost, twice), (0, 0), "lost and duplicated: {}\n{steps:#?}", replay());
        }
    }

    /// Records the graph, then replays it on other bytes, with another first scalar, between other
    /// tasks and more than once, and compares with the graph run one after the other.
    pub fn check_replay(&self, seed: u64, mode: Mode) {
        let mut steps = draw(seed, self.kind);
        let bytes = |of: u64| (0..BYTES as u64).map(|i| mix(of ^ i) as u8).collect::<Vec<u8>>();
        let failed = |what: &str| {
            panic!("{what}: MAILRING_SEED={seed} ({mode:?}, {} workers)", self.kind.workers)
        };
        let run = |serial: &mut Serial, steps: &[Step]| {
            *serial = Serial { bytes: std::mem::take(&mut serial.bytes), ..Serial::default() };
            serial.run(steps);
        };
        self.data.copy_from_slice(&bytes(seed)).unwrap();
        let mut serial = Serial { bytes: bytes(seed), ..Serial::default() };
        run(&mut serial, &steps);
        let recorded = self.exec.record(|orch| {
            let mut names = Names::default();
            steps.iter().try_for_each(|step| self.step(orch, step, &mut names))
        });
        let recording = match recorded {
            Ok(((), recording)) => recording,
            Err(error) => return failed(&format!("recording: {error}")),
        };
        if self.data.to_vec().unwrap() != serial.bytes {
            failed("the recorded run");
        }
        let mut bindings = recording.bindings();
        match bindings.tensor(&self.data, &self.other) {
            Ok(_) | Err(Error::Replay(InvalidReplay::NotNamed(_))) => {}
            Err(error) => failed(&format!("binding: {error}")),
        }
        let first = steps.iter_mut().find_map(|step| match step {
            Step::Task { id, group: false, .. } => Some(Some(id)),
            Step::Task { .. } => Some(None),
            _ => None,
        });
        if let Some(Some(id)) = first {
            *id = mix(*id);
            bindings.scalar(0, 0, *id).unwrap();
        }
        // One that names everything (of what compatible hazards know by its first byte: most), and one
        // that names a part.
        let around = |id, lens: &[usize]| {
            let mut from = 0;
            let arguments = lens.iter().map(|&len| {
                from += len;
                let place = Place::Bytes { from: from - len, len };
                Argument { place, tag: TensorArgType::InOut }
            });
            let members = vec![arguments.collect()];
            Step::Task { id, members, group: false, sub: false, urgent: false }
        };
        let (all, part) = match self.kind.hazards {
            Hazards::Strict => (around(seed, &[CONSTANT]), around(!seed, &[40])),
            Hazards::Compatible => (around(seed, &[BLOCK; 8]), around(!seed, &[BLOCK; 2])),
        };
        self.other.copy_from_slice(&bytes(!seed)).unwrap();
        let mut serial = Serial { bytes: bytes(!seed), ..Serial::default() };
        let on_other = |orch: &mut Orchestrator, step: &Step| {
            let mut names = Names { on_other: true, ..Names::default() };
            self.step(orch, step, &mut names)
        };
        let ran = self.exec.run(|orch| {
            on_other(orch, &all)?;
            for _ in 0..3 {
                orch.scope(|orch| orch.replay(&recording, &bindings))?;
                on_other(orch, &part)?;
            }
            orch.scope(|orch| orch.replay(&recording, &bindings).map(drop))
        });
        let replayed = ran.and_then(|()| self.exec.replay(&recording, &bindings));
        if let Err(error) = replayed {
            return failed(&format!("a replay: {error}"));
        }
        run(&mut serial, &[all]);
        for _ in 0..3 {
            run(&mut serial, &steps);
            run(&mut serial, std::slice::from_ref(&part));
        }
        run(&mut serial, &steps);
        run(&mut serial, &steps);
        let got = self.other.to_vec().unwrap();
        if let Some(at) = (0..BYTES).find(|&at| got[at] != serial.bytes[at]) {
            failed(&format!("byte {at} differs\n{steps:#?}\n"));
        }
    }

    /// Members of which no attempt came to an end, and attempts that began twice.
    fn count(&self, steps: &[Step]) -> (usize, u64) {
        let ledger = self.ledger.to_vec().unwrap();
        let sizes = steps.iter().map(|step| match step {
            Step::Task { members, .. } => members.len(),
            _ => 0,
        });
        let members = sizes.sum();
        let lost = ledger[MEMBERS..][..members].iter().filter(|&&ended| ended == 0).count();
        let twice = ledger[2 * MEMBERS];
        self.ledger.copy_from_slice(&vec![0; ledger.len()]).unwrap();
        (lost, twice)
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
                    if self.kind.deaths == Deaths::Outside {
                        args = args.no_dep(self.ledger.tensor());
                    }
                    args = args.scalar(id.wrapping_add(nth as u64)).scalar(tag_bits(member));
                    all.push(args.scalar(names.members));
                    names.members += 1;
                }
                let ways = (*group, *sub, *urgent, is_repeatable(members));
                let handle = self.submit(orch, all, ways)?;
                let extra = usize::from(self.kind.deaths == Deaths::Outside);
                let places = members.iter().enumerate().flat_map(|(nth, member)| {
                    member.iter().map(move |argument| (nth * extra, argument))
                });
                for (index, (before, argument)) in places.enumerate() {
                    let index = index + before;
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
        (group, sub, urgent, repeatable): (bool, bool, bool, bool),
    ) -> Result<TaskHandle, Error> {
        let mut options = if sub { TaskOptions::sub() } else { TaskOptions::new() };
        if urgent {
            options = options.priority(mailring::Priority::Urgent);
        }
        options = match self.kind.deaths {
            Deaths::Nobody => options,
            Deaths::Outside if repeatable => options.retries(60).idempotent(),
            Deaths::Outside => options.retries(60).snapshot(),
            Deaths::Bodies if group => options,
            // Bodies read what they overwrite, so only a snapshot makes another attempt right.
            Deaths::Bodies => options.retries(2).snapshot(),
        };
        if group {
            orch.submit_group_with(self.mixer, all, config(), &options)
        } else {
            let args = all.pop().unwrap_or_default();
            orch.submit_with(self.mixer, args, config(), &options)
        }
    }

    fn tensor(&self, place: Place, names: &Names) -> Result<ContinuousTensor, AbiError> {
        let (address, len) = match place {
            Place::Bytes { from, len } => {
                let buffer = if names.on_other { &self.other } else { &self.data };
                (buffer.address() + from as u64, len)
            }
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
    members: u64,
    last: Option<TaskHandle>,
    /// Bytes are those of the other buffer.
    on_other: bool,
}

/// A body with entries in the ledger, which is its last tensor.
fn counted(
    args: &TaskArgsView<'_>,
    ledger: usize,
    context: &TaskContext<'_>,
) -> Result<(), AbiError> {
    let member = args.scalar(2)? as usize;
    let attempt = 1 << ((context.attempt() - 1) % 64);
    if atom(args, ledger, member).fetch_or(attempt, SeqCst) & attempt != 0 {
        atom(args, ledger, 2 * MEMBERS).fetch_add(1, SeqCst);
    }
    task(args, ledger)?;
    atom(args, ledger, MEMBERS + member).store(1, SeqCst);
    Ok(())
}
