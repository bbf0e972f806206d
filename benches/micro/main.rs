//! `cargo bench`: the pieces of the path of a task, each by itself and warm, in nanoseconds. What
//! they cost together, beside others and between processors, is what `mailring bench` measures.
//!
//!   cargo bench            all of them, in less than a minute
//!   cargo bench -- submit  those with that in their name

mod measure;

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use mailring::abi::{
    AbiError, CallConfig, ChipStorageTaskArgs, ContinuousTensor, DataType, TaskArgs, TaskArgsView,
    TensorArgType, read_blob, view_to_chip_storage, write_blob,
};
use mailring::executor::Hazards;
use mailring::flow::__private::{profile_cost, there_and_back};
use mailring::flow::{Flow, Resources, node};
use mailring::graph::{Access, Dependencies, TensorMap};
use mailring::mailbox::ready_queue::ReadyQueue;
use mailring::ring::dist_ring::{DistRing, Geometry, Needs};
use mailring::ring::slot::Slot;
use mailring::ring::table::{Edge, Table};
use mailring::{Buffer, Callable, Executor, Mode};

use measure::Bench;

fn main() -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::from_arguments();
    arguments(&mut bench)?;
    bytes(&mut bench)?;
    values(&mut bench);
    profiles(&mut bench)?;
    map(&mut bench);
    ring(&mut bench)?;
    submits(&mut bench)?;
    bench.end()
}

fn tensor(at: u64) -> Result<ContinuousTensor, AbiError> {
    ContinuousTensor::new(at, &[1], DataType::Uint64)
}

/// Building what a submit is given.
fn arguments(bench: &mut Bench) -> Result<(), AbiError> {
    let (x, y) = (tensor(0x1000)?, tensor(0x2000)?);
    bench.each("arguments: 2 tensors, 1 scalar", || {
        black_box(TaskArgs::new().input(black_box(x)).output(black_box(y)).scalar(7));
    });
    let cells: Vec<_> = (1..=8).map(|n| tensor(n << 12)).collect::<Result<_, _>>()?;
    bench.each("arguments: 8 tensors", || {
        let all = black_box(&cells).iter();
        black_box(all.fold(TaskArgs::new(), |args, &cell| args.input(cell)));
    });
    Ok(())
}

/// Arguments as bytes.
fn bytes(bench: &mut Bench) -> Result<(), AbiError> {
    let args = TaskArgs::new().input(tensor(0x1000)?).output(tensor(0x2000)?).scalar(7);
    let mut words = [0u64; 12];
    let blob: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    write_blob(&args, blob)?;
    bench.each("blob: write", || {
        let _ = black_box(write_blob(black_box(&args), black_box(blob)));
    });
    bench.each("blob: read", || {
        let _ = black_box(read_blob(black_box(blob)));
    });
    let mut block = ChipStorageTaskArgs::new();
    bench.each("block of a chip: write", || {
        let _ = view_to_chip_storage(black_box(TaskArgsView::of(&args)), black_box(&mut block));
    });
    Ok(())
}

/// Values of flows: read, written, read again, written again, compared.
fn values(bench: &mut Bench) {
    // MessagePack with its tag behind it: a number, and a list of three short texts.
    let number = [0xcd, 0x12, 0x34, 1];
    let texts = [&[0x93, 0xa2][..], b"ab", &[0xa2], b"cd", &[0xa2], b"ef", &[1]].concat();
    bench.each("value of a flow: u64, twice there and back", || {
        there_and_back::<u64>(black_box(&number));
    });
    bench.each("value of a flow: 3 texts, twice there and back", || {
        there_and_back::<Vec<String>>(black_box(&texts));
    });
}

#[node]
fn nothing() {}

/// What is recorded of calls.
fn profiles(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let mut notes = profile_cost::Notes::default();
    bench.each("profile: an event of the driver", || notes.note());
    let mut times = profile_cost::TaskTimes::default();
    bench.each("profile: the times of a task, by its worker", || {
        profile_cost::run_one(&mut times);
    });
    // All that a call is, at both ends of it, with and without a profile.
    let flow = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).build()?;
    let calls = || -> Result<f64, mailring::flow::Error> {
        const CALLS: u32 = 2000;
        let begin = Instant::now();
        let refs = (0..CALLS).map(|_| nothing::remote(&flow)).collect::<Result<Vec<_>, _>>()?;
        refs.iter().try_for_each(|call| call.get())?;
        Ok(begin.elapsed().as_nanos() as f64 / f64::from(CALLS))
    };
    bench.batches("flow: a call and its value, of many", calls);
    flow.start_collector("/dev/null")?;
    bench.batches("flow: the same, profiled (5 or 6 events)", calls);
    flow.stop_collector()?;
    Ok(())
}

/// Who waits for whom.
fn map(bench: &mut Bench) {
    const CELLS: u64 = 4096;
    let cell = |at: u64| 0x10_0000 + 8 * (at % CELLS)..0x10_0000 + 8 * (at % CELLS) + 8;
    let mut found = Dependencies::default();
    let mut run = |bench: &mut Bench, name, accesses: &dyn Fn(u64) -> [Access; 2]| {
        let (mut map, mut task) = (TensorMap::new(Hazards::Strict), 0);
        bench.each(name, || {
            let mut accesses = accesses(task);
            found.clear();
            map.lookup(&mut accesses, &mut found);
            black_box(found.settle());
            map.record(&accesses, task, task.saturating_sub(1024));
            task += 1;
        });
    };
    run(bench, "map: 2 known ranges", &|task| {
        let input = Access::new(cell(task), TensorArgType::Input);
        [input, Access::new(cell(task + CELLS / 2), TensorArgType::OutputExisting)]
    });
    run(bench, "map: a range in the middle of another", &|task| {
        let whole = Access::new(0x1000..0x2000, TensorArgType::Input);
        let part = 0x8000 + 64 * (task % 64);
        [whole, Access::new(part..part + 64, TensorArgType::InOut)]
    });
}

/// Slots, the window and a queue in ordinary memory.
fn ring(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    const WINDOW: usize = 4096;
    let geometry = Geometry { window: WINDOW, heap_bytes: 1 << 20, group_words: 1024 };
    let mut ring = DistRing::new(geometry)?;
    let slots: Vec<Slot> = (0..WINDOW).map(|_| Slot::new()).collect();
    let edges: Vec<Edge> = (0..geometry.edges()).map(|_| Edge::new()).collect();
    let table = Table::new(&slots, &edges);
    let (head, tail) = (AtomicU64::new(0), AtomicU64::new(0));
    let entries: Vec<AtomicU64> = (0..WINDOW).map(|_| AtomicU64::new(0)).collect();
    let queue = ReadyQueue::new(&head, &tail, &entries);
    let mut writer = queue.writer();
    bench.each("ring: reserve, publish, suggest, take, complete, reclaim", || {
        let Some(place) = ring.reserve(Needs::default()) else { return };
        table.slot(place.slot).publish_ready(SUBMITTER, place.generation, NO_FAILURE);
        let _ = queue.push(&mut writer, place.slot);
        let taken = queue.take(|slot| Some((slot, table.slot(slot).take(WORKER)?)), |_| ());
        if let Some((slot, lease)) = taken {
            black_box(table.finish(table.slot(slot), lease, WORKER, None, |_| ()));
        }
        let _ = ring.reclaim(&table, 1, |_, _| ());
    });
    Ok(())
}

const SUBMITTER: u16 = 1;
const WORKER: u16 = 2;
const NO_FAILURE: u64 = u64::MAX;

/// Submits until they return, while the only worker is busy with something else.
fn submits(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let engine = Engine::build()?;
    bench.batches("submit: 2 tensors, 1 scalar", || {
        engine.burst(|task| {
            let (x, y) = (engine.cells[task % 1024], engine.cells[1024 + task % 2048]);
            TaskArgs::new().input(x).output(y).scalar(task as u64)
        })
    });
    bench.batches("submit: a chain, 1 tensor, 1 scalar", || {
        engine.burst(|task| TaskArgs::new().inout(engine.cells[0]).scalar(task as u64))
    });
    bench.batches("submit: a stencil, 4 tensors, 1 scalar", || {
        engine.burst(|task| {
            let at = |step: usize, x: usize| engine.cells[64 * (step % 32) + x % 64];
            let (step, x) = (1 + task / 64, task % 64);
            let near = [at(step - 1, x + 63), at(step - 1, x), at(step - 1, x + 1)];
            near.into_iter()
                .fold(TaskArgs::new(), |args, cell| args.input(cell))
                .output(at(step, x))
                .scalar(task as u64)
        })
    });
    Ok(())
}

struct Engine {
    exec: Executor,
    empty: Callable,
    away: Callable,
    cells: Vec<ContinuousTensor>,
    _data: Buffer<u64>,
}

impl Engine {
    /// Tasks of a burst: fewer than the window holds, so that no submit waits.
    const BURST: usize = 1024;
    /// How long the worker stays away from it, and how long it may take to begin with that.
    const AWAY: Duration = Duration::from_micros(1500);
    const BEGIN: Duration = Duration::from_micros(100);

    fn build() -> Result<Self, Box<dyn Error>> {
        let mut builder = Executor::builder()
            .mode(Mode::Process)
            .workers(1)
            .heap_bytes(1 << 20)
            .buffer_bytes(1 << 20);
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()))?;
        let away = builder.register("away", |_, _, _| {
            std::thread::sleep(Self::AWAY);
            Ok::<(), AbiError>(())
        })?;
        let exec = builder.build()?;
        let data = exec.buffer::<u64>(4096)?;
        let cells = (0..4096).map(|at| data.view(at, &[1])).collect::<Result<_, _>>()?;
        Ok(Self { exec, empty, away, cells, _data: data })
    }

    /// Nanoseconds a submit.
    fn burst(&self, args: impl Fn(usize) -> TaskArgs) -> Result<f64, mailring::Error> {
        self.exec.run(|orch| {
            orch.submit(self.away, TaskArgs::new(), CallConfig::default())?;
            std::thread::sleep(Self::BEGIN);
            let begin = Instant::now();
            for task in 0..Self::BURST {
                orch.submit(self.empty, args(task), CallConfig::default())?;
            }
            Ok(begin.elapsed().as_nanos() as f64 / Self::BURST as f64)
        })
    }
}
