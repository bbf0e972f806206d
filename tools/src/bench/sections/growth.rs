//! What may not grow: the time of a task, and memory, with all that has been before it.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;

use mailring::abi::{AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs};
use mailring::{Buffer, Callable, Error, Executor, Mode};

use super::super::run::{Measured, Run};
use super::super::section::{Axis, Effort, Figure, Panel, Section, Unit, measured, ratio};
use super::engine::Engine;
use super::loads;
use crate::system::Pinned;

/// Tasks before the memory is looked at for the first time: all that is used in turns has been.
const SETTLED: usize = 100_000;
/// Parts of all wholes together.
const ALL_PARTS: usize = 4096;
/// Groups that are ready at once, at most.
const MOST_GROUPS: usize = 1000;

const fn ns(key: &'static str, label: &'static str, meaning: &'static str) -> Figure {
    measured(key, Unit::Ns, label, meaning)
}

pub(super) static SECTION: Section = Section {
    name: "growth",
    title: "What may not grow, one worker beside the submitter",
    seconds: [2.5, 10.0, 90.0],
    figures: &[
        ns("growth.few_ns", "independent task, of 10,000", "wall time / tasks"),
        ns("growth.many_ns", "of 10^6 (with --full 10^7)", "wall time / tasks"),
        ratio("growth_ratio", "growth.many_ns", "growth.few_ns", "many / few")
            .flat()
            .at_most(1.5, 1.5),
        measured(
            "rss_growth_bytes",
            Unit::Bytes,
            "memory, from 100,000 tasks to all of them",
            "resident sets of host and worker together",
        )
        .flat(),
        ns("growth.buffers_few_ns", "a new buffer before each task: 500", "wall time / tasks"),
        ns("growth.buffers_many_ns", "4,000", "wall time / tasks"),
        ratio(
            "growth.buffers_ratio",
            "growth.buffers_many_ns",
            "growth.buffers_few_ns",
            "many / few",
        )
        .at_most(1.5, 1.5),
        ns(
            "growth.part_few_ns",
            "part of 64, written, then read once",
            "time of all these tasks / parts",
        ),
        ns("growth.part_many_ns", "of 4,096", "time of all these tasks / parts"),
        ratio("growth.part_ratio", "growth.part_many_ns", "growth.part_few_ns", "many / few")
            .at_most(1.5, 1.5),
        ns(
            "growth.parts_few_ns",
            "task that reads a whole of 64 parts",
            "which others have written, and one has read",
        ),
        ns("growth.parts_many_ns", "4,096 parts", "which others have written, and one has read"),
        ratio("growth.parts_ratio", "growth.parts_many_ns", "growth.parts_few_ns", "many / few")
            .at_most(1.5, 1.5),
        ns("growth.matrix_few_ns", "rows, tiles and cells of 16 by 16", "read, and written"),
        ns("growth.matrix_many_ns", "256 by 256", "read, and written"),
        ratio("growth.matrix_ratio", "growth.matrix_many_ns", "growth.matrix_few_ns", "many / few")
            .at_most(1.5, 1.5),
        ns("growth.groups_few_ns", "groups of one that are ready at once: 20", "time / groups"),
        ns("growth.groups_many_ns", "1,000", "from when they are ready: time / groups"),
        ratio("growth.groups_ratio", "growth.groups_many_ns", "growth.groups_few_ns", "many / few")
            .at_most(1.5, 1.5),
        ns("growth.tensors_few_ns", "distinct tensors: 1,024", "written in turns"),
        ns("growth.tensors_many_ns", "200,000", "written in turns"),
        ratio(
            "growth.tensors_ratio",
            "growth.tensors_many_ns",
            "growth.tensors_few_ns",
            "many / few",
        )
        .at_most(1.5, 1.5),
        ns("growth.outputs_few_ns", "allocated outputs of one scope: 1,000", "wall time / tasks"),
        ns("growth.outputs_many_ns", "50,000", "wall time / tasks"),
        ratio(
            "growth.outputs_ratio",
            "growth.outputs_many_ns",
            "growth.outputs_few_ns",
            "many / few",
        )
        .at_most(1.5, 1.5),
    ],
    panels: &[Panel {
        name: "growth.tasks",
        title: "Independent tasks of one run",
        x: Axis::log("tasks"),
        y: Axis::linear("ns a task"),
    }],
    bars: &[],
    measure,
};

fn measure(run: &mut Run) -> Measured {
    let most: usize = if run.effort == Effort::Full { 10_000_000 } else { 1_000_000 };
    {
        let engine = Engine::build(Mode::Process, 1, true)?;
        let _pinned = Pinned::to(run.here());
        loads::independent(&engine, SETTLED)?;
        let before = memory(&engine.exec);
        run.rounds_within(run.budget() / 2, |run, _| {
            for power in 3..=most.ilog10() {
                let tasks = 10usize.pow(power);
                // Few tasks again and again: the time of one run says little.
                let times = (10_000 / tasks).max(1);
                let mut sum = 0.0;
                for _ in 0..times {
                    sum += loads::independent(&engine, tasks)?;
                }
                let time = sum / times as f64;
                run.point("growth.tasks", "mailring, processes", tasks as f64, time);
                if tasks == 10_000 {
                    run.add("growth.few_ns", time);
                } else if tasks == most {
                    run.add("growth.many_ns", time);
                }
            }
            Ok(())
        })?;
        run.add("rss_growth_bytes", memory(&engine.exec) - before);
    }
    let here = run.here();
    run.rounds_within(run.budget() / 2, |run, _| {
        // New in each round: what one leaves must not meet the next.
        let engine = Large::build()?;
        let groups = Groups::build()?;
        let _pinned = Pinned::to(here);
        run.add("growth.groups_few_ns", groups.ready_at_once(20)?);
        run.add("growth.groups_many_ns", groups.ready_at_once(MOST_GROUPS)?);
        run.add("growth.matrix_few_ns", engine.matrix(16)?);
        run.add("growth.matrix_many_ns", engine.matrix(256)?);
        run.add("growth.tensors_few_ns", engine.distinct(1024)?);
        run.add("growth.tensors_many_ns", engine.distinct(200_000)?);
        run.add("growth.outputs_few_ns", engine.outputs(1000)?);
        run.add("growth.outputs_many_ns", engine.outputs(50_000)?);
        // Of bytes that no other task has named, each.
        for (parts, from, part, reader) in [
            (64, 300_000, "growth.part_few_ns", "growth.parts_few_ns"),
            (ALL_PARTS, 400_000, "growth.part_many_ns", "growth.parts_many_ns"),
        ] {
            let (first, later) = engine.parts(parts, from)?;
            run.add(part, first);
            run.add(reader, later);
        }
        run.add("growth.buffers_few_ns", engine.buffers(500)?);
        run.add("growth.buffers_many_ns", engine.buffers(4000)?);
        Ok(())
    })
}

/// Resident bytes of this process and its workers.
fn memory(exec: &Executor) -> f64 {
    let workers = exec.worker_pids().into_iter().filter(|&pid| pid != 0);
    let processes = workers.map(|pid| pid.to_string()).chain(["self".to_owned()]);
    let pages = processes.filter_map(|process| {
        let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    // SAFETY: takes a number only.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64;
    (pages.sum::<u64>() * page) as f64
}

/// An executor with room for many tensors.
struct Large {
    exec: Executor,
    empty: Callable,
    data: Buffer<u64>,
}

impl Large {
    fn build() -> Measured<Self> {
        let mut builder = Executor::builder()
            .name("mailring-bench")
            .workers(1)
            .pin_cpus(true)
            .heap_bytes(128 << 20)
            .buffer_bytes(64 << 20);
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()))?;
        let exec = builder.build()?;
        let data = exec.buffer(1 << 20)?;
        Ok(Self { exec, empty, data })
    }

    /// Nanoseconds a task: the run, over the number of tasks.
    fn timed(
        &self,
        tasks: usize,
        mut args: impl FnMut(usize) -> Result<TaskArgs, Error>,
    ) -> Result<f64, Error> {
        let begin = Instant::now();
        self.exec.run(|orch| {
            for task in 0..tasks {
                orch.submit(self.empty, args(task)?.scalar(task as u64), CallConfig::default())?;
            }
            Ok(())
        })?;
        Ok(begin.elapsed().as_nanos() as f64 / tasks as f64)
    }

    /// Each of them written in turns.
    fn distinct(&self, tensors: usize) -> Result<f64, Error> {
        let cells: Result<Vec<_>, _> = (0..tensors).map(|at| self.data.view(at, &[1])).collect();
        let (cells, tasks) = (cells?, 200_000);
        self.timed(tasks, |task| Ok(TaskArgs::new().output(cells[task % tensors])))
    }

    /// All in one scope.
    fn outputs(&self, tasks: usize) -> Result<f64, Error> {
        let output = ContinuousTensor::new(0, &[8], DataType::Uint64)?;
        let times = 50_000 / tasks;
        let mut sum = 0.0;
        for _ in 0..times {
            sum += self.timed(tasks, |_| Ok(TaskArgs::new().output(output)))?;
        }
        Ok(sum / times as f64)
    }

    /// Wholes of so many parts, written by a task for each part, and read by one: nanoseconds a part. Then
    /// more of those who read the first whole: nanoseconds a task.
    fn parts(&self, parts: usize, from: usize) -> Result<(f64, f64), Error> {
        let out = self.data.view(from + ALL_PARTS, &[1])?;
        let read = |whole| {
            let whole = self.data.view(from + whole * parts, &[parts as u32])?;
            Ok(TaskArgs::new().input(whole).output(out))
        };
        let wholes = ALL_PARTS / parts;
        let write = |part| Ok(TaskArgs::new().output(self.data.view(from + part, &[1])?));
        let written = self.timed(ALL_PARTS, write)?;
        let first = written + self.timed(wholes, read)? / parts as f64;
        Ok((first, self.timed(500, |_| read(0))?))
    }

    /// Rows of a square matrix are read; tiles of a row, and cells, are written.
    fn matrix(&self, side: usize) -> Result<f64, Error> {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % side
        };
        self.timed(5000, |task| {
            let (row, column) = (random() * side, random());
            let tile = 4.min(side - column) as u32;
            Ok(match task % 3 {
                0 => TaskArgs::new().input(self.data.view(row, &[side as u32])?),
                1 => TaskArgs::new().inout(self.data.view(row + column, &[tile])?),
                _ => TaskArgs::new().output(self.data.view(row + column, &[1])?),
            })
        })
    }

    /// Each task names a buffer that has just been made; all of them live until the end.
    fn buffers(&self, buffers: usize) -> Result<f64, Error> {
        let mut all: Vec<Buffer<u64>> = Vec::with_capacity(buffers);
        self.timed(buffers, |_| {
            let buffer = self.exec.buffer(1)?;
            let args = TaskArgs::new().output(&buffer);
            all.push(buffer);
            Ok(args)
        })
    }
}

/// An executor with room for many groups.
struct Groups {
    exec: Executor,
    empty: Callable,
    hold: Callable,
    /// Opens the gate; what the task at the gate writes; what the groups write.
    cells: Buffer<u64>,
}

impl Groups {
    fn build() -> Measured<Self> {
        let mut builder = Executor::builder()
            .name("mailring-bench")
            .workers(1)
            .pin_cpus(true)
            .slot_window(1 << 14)
            .buffer_bytes(1 << 20);
        let empty = builder.register("empty", |_, _, _| Ok::<(), AbiError>(()))?;
        let hold = builder.register("hold", |args, _, _| {
            let (open, _) = args.elements::<u64>(0)?;
            // SAFETY: an element of a buffer that is mapped while bodies run; the host writes it as an
            // atomic as well.
            let open = unsafe { AtomicU64::from_ptr(open) };
            while open.load(Acquire) == 0 {
                std::thread::yield_now();
            }
            Ok::<(), AbiError>(())
        })?;
        let exec = builder.build()?;
        let cells = exec.buffer(2 + MOST_GROUPS)?;
        Ok(Self { exec, empty, hold, cells })
    }

    /// Nanoseconds a group, from when all of them are ready.
    fn ready_at_once(&self, groups: usize) -> Result<f64, Error> {
        // SAFETY: the first element, as in the body.
        let open = unsafe { AtomicU64::from_ptr(self.cells.as_mut_ptr()) };
        let (gate, held) = (self.cells.view(0, &[1])?, self.cells.view(1, &[1])?);
        let (times, mut sum) = (MOST_GROUPS / groups, 0);
        for _ in 0..times {
            open.store(0, Release);
            let mut begin = Instant::now();
            self.exec.run(|orch| {
                let args = TaskArgs::new().no_dep(gate).output(held);
                orch.submit(self.hold, args, CallConfig::default())?;
                for group in 0..groups {
                    let cell = self.cells.view(2 + group, &[1])?;
                    let member = TaskArgs::new().input(held).output(cell);
                    orch.submit_group(self.empty, vec![member], CallConfig::default())?;
                }
                begin = Instant::now();
                open.store(1, Release);
                Ok(())
            })?;
            sum += begin.elapsed().as_nanos();
        }
        Ok(sum as f64 / (times * groups) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_grow_takes_time() {
        let engine = Large::build().expect("build");
        assert!(memory(&engine.exec) > 0.0);
        let (first, later) = engine.parts(64, 300_000).expect("run");
        assert!(first > 0.0 && later > 0.0);
        assert!(engine.buffers(50).expect("run") > 0.0);
        assert!(engine.outputs(1000).expect("run") > 0.0);
        assert!(engine.distinct(1024).expect("run") > 0.0);
        assert!(engine.matrix(16).expect("run") > 0.0);
        assert!(Groups::build().expect("build").ready_at_once(500).expect("run") > 0.0);
    }
}
