//! What runs where, and what is said of it.

use mailring::abi::{ContinuousTensor, TaskArgs};
use mailring::typed::InOut;
use mailring::{
    BuildError, Builder, Callable, Error, Executor, FailureKind, Level, Mode, TaskOptions,
};
use testkit::{BOTH, at, atom, bodies, config, failed_as, failure, small};

/// A level whose function `each` adds one to every element of its tensor, in one task an element,
/// by workers that are executors of `below` themselves if there is one.
pub(crate) fn adding(
    mode: Mode,
    workers: usize,
    below: Option<(Level, Callable)>,
) -> (Level, Callable) {
    let (builder, add) = match below {
        None => {
            let mut builder = small(mode, workers);
            let add = builder.register("add", bodies::add_one);
            (builder, add.unwrap())
        }
        Some((level, each)) => (small(mode, 0).next_level(workers, level), each),
    };
    let mut level = Level::new(builder);
    let each = level.register("each", move |orch, args, config, _| {
        let whole = args.tensor(0)?;
        for index in 0..whole.elements()? {
            let part = ContinuousTensor::new(whole.data() + index * 8, &[1], whole.dtype()?)?;
            orch.submit(add, TaskArgs::new().inout(part), *config)?;
        }
        Ok(())
    });
    (level, each.unwrap())
}

fn top(mode: Mode, workers: usize, level: Level) -> Executor {
    small(mode, 0).next_level(workers, level).build().unwrap()
}

fn expect_ones(exec: &Executor, each: Callable) {
    let cells = exec.buffer::<u64>(6).unwrap();
    for round in 1..=3 {
        exec.run(|orch| orch.submit(each, TaskArgs::new().inout(&cells), config())).unwrap();
        assert_eq!(cells.to_vec().unwrap(), [round; 6]);
    }
}

pub(crate) fn two_levels_in_all_modes() {
    for (above, below) in BOTH.iter().flat_map(|&a| BOTH.map(|b| (a, b))) {
        let (level, each) = adding(below, 2, None);
        expect_ones(&top(above, 1, level), each);
    }
}

pub(crate) fn three_levels_in_all_modes() {
    for modes in 0..8 {
        let mode = |bit: i32| if modes >> bit & 1 == 0 { Mode::Process } else { Mode::Thread };
        let (level, each) = adding(mode(1), 2, Some(adding(mode(0), 2, None)));
        expect_ones(&top(mode(2), 1, level), each);
    }
}

pub(crate) fn four_levels_of_processes() {
    let mode = Mode::Process;
    let (level, each) = adding(mode, 1, Some(adding(mode, 1, Some(adding(mode, 1, None)))));
    expect_ones(&top(mode, 1, level), each);
}

/// Tensors of the top are read and written in place, two levels further down.
pub(crate) fn a_level_sees_the_memory_above() {
    for mode in BOTH {
        let mut bottom = small(mode, 1);
        let copy = bottom.register("copy", |args, _, _| {
            for i in 0..args.elements::<u64>(0)?.1 {
                args.set(1, i, args.get::<u64>(0, i)? * 10)?;
            }
            Ok::<(), mailring::abi::AbiError>(())
        });
        let copy = copy.unwrap();
        let pass = move |level: &mut Level, callable: Callable| {
            level.register("pass", move |orch, args, config, _| {
                let (from, to) = (*args.tensor(0)?, *args.tensor(1)?);
                orch.submit(callable, TaskArgs::new().input(from).output(to), *config)?;
                Ok(())
            })
        };
        let mut low = Level::new(bottom);
        let low_pass = pass(&mut low, copy).unwrap();
        let mut middle = Level::new(small(mode, 0).next_level(1, low));
        let pass = pass(&mut middle, low_pass).unwrap();
        let exec = top(mode, 1, middle);
        let [from, to] = [exec.buffer::<u64>(3).unwrap(), exec.buffer::<u64>(3).unwrap()];
        from.copy_from_slice(&[1, 2, 3]).unwrap();
        exec.run(|orch| orch.submit(pass, TaskArgs::new().input(&from).output(&to), config()))
            .unwrap();
        assert_eq!(to.to_vec().unwrap(), [10, 20, 30]);
    }
}

/// Memory that the top allocates for an output is the level's to fill.
pub(crate) fn a_slab_of_the_level_above() {
    let (level, each) = adding(Mode::Process, 2, None);
    let exec = top(Mode::Process, 1, level);
    let seen = exec.buffer::<u64>(4).unwrap();
    exec.run(|orch| {
        let slab = orch.alloc(&[4], mailring::abi::DataType::Uint64)?;
        orch.submit(each, TaskArgs::new().inout(slab), config())?;
        let done = orch.submit(each, TaskArgs::new().inout(slab), config())?;
        orch.wait(&done)?;
        for index in 0..4 {
            // SAFETY: the slab lives until the run ends, and no task of the run is unfinished.
            let value = unsafe { *((slab.data() + index * 8) as *const u64) };
            seen.set(index as usize, value)?;
        }
        Ok(())
    })
    .unwrap();
    let first = seen.get(0).unwrap();
    assert_eq!(seen.to_vec().unwrap(), [first; 4]);
    assert_eq!(first & 0xFF, 2, "fresh memory is zero in a fresh ring");
}

pub(crate) fn levels_are_used_again() {
    let (level, each) = adding(Mode::Process, 1, None);
    let exec = top(Mode::Process, 1, level);
    let cells = exec.buffer::<u64>(2).unwrap();
    let before = exec.worker_pids();
    for _ in 0..200 {
        exec.run(|orch| orch.submit(each, TaskArgs::new().inout(&cells), config())).unwrap();
    }
    assert_eq!(cells.to_vec().unwrap(), [200, 200]);
    assert_eq!((exec.worker_pids(), exec.stats().deaths), (before, 0));
}

pub(crate) fn many_tasks_on_two_levels_at_once() {
    for mode in BOTH {
        let (level, each) = adding(mode, 2, None);
        let exec = top(mode, 2, level);
        let cells = exec.buffer::<u64>(64).unwrap();
        exec.run(|orch| {
            for round in 0..50 {
                let part = cells.view(round % 8 * 8, &[8])?;
                orch.submit(each, TaskArgs::new().inout(part), config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(cells.to_vec().unwrap().iter().sum::<u64>(), 50 * 8);
    }
}

fn failing(
    mode: Mode,
    what: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> (Executor, Callable) {
    let mut bottom = small(mode, 1);
    let bad = bottom.register("bad", move |_, _, _| what()).unwrap();
    let mut low = Level::new(bottom);
    let run_bad = low
        .register("run-bad", move |orch, _, config, _| {
            orch.submit(bad, TaskArgs::new(), *config).map(drop)
        })
        .unwrap();
    let mut middle = Level::new(small(mode, 0).next_level(1, low));
    let pass = middle
        .register("pass", move |orch, _, config, _| {
            orch.submit(run_bad, TaskArgs::new(), *config).map(drop)
        })
        .unwrap();
    (top(mode, 1, middle), pass)
}

pub(crate) fn an_error_comes_up_with_its_words() {
    for mode in BOTH {
        let (exec, pass) = failing(mode, || Err("the seal is broken".to_owned()));
        let failed = exec.run(|orch| orch.submit(pass, TaskArgs::new(), config()));
        let failed = failed_as(failed, FailureKind::Error);
        assert_eq!(failed.name, "pass");
        for words in ["in the level below", "`run-bad`", "`bad`", "the seal is broken", "worker 0"]
        {
            assert!(failed.message.contains(words), "{words}: {failed}");
        }
    }
}

pub(crate) fn a_panic_of_an_orchestration_function() {
    for mode in BOTH {
        let mut bottom = small(mode, 1);
        let set = bottom
            .register("set", |args, _, _| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                args.set(0, 0, 5u64)
            })
            .unwrap();
        let mut level = Level::new(bottom);
        let odd = level
            .register("odd", move |orch, args, config, _| {
                orch.submit(set, TaskArgs::new().output(*args.tensor(0)?), *config)?;
                panic!("no such parity");
            })
            .unwrap();
        let (exec, cell) = {
            let exec = top(mode, 1, level);
            let cell = exec.buffer::<u64>(1).unwrap();
            (exec, cell)
        };
        let failed = exec.run(|orch| orch.submit(odd, TaskArgs::new().inout(&cell), config()));
        let failed = failed_as(failed, FailureKind::Panic);
        assert!(failed.message.contains("no such parity"), "{failed}");
        // What it had submitted is over: run or cancelled, it does not write from here on.
        let now = cell.to_vec().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(120));
        assert_eq!(cell.to_vec().unwrap(), now);
        let failed = exec.run(|orch| orch.submit(odd, TaskArgs::new().inout(&cell), config()));
        failed_as(failed, FailureKind::Panic);
    }
}

pub(crate) fn an_orchestration_function_that_gives_up() {
    let mut level = Level::new(small(Mode::Process, 1));
    let no = level.register("no", |_, _, _, _| Err(Error::other("not today"))).unwrap();
    let exec = top(Mode::Process, 1, level);
    let failed = failure(exec.run(|orch| orch.submit(no, TaskArgs::new(), config())));
    assert_eq!(failed.message, "not today");
}

pub(crate) fn unknown_addresses_are_unknown_below_too() {
    let mut bottom = small(Mode::Process, 1);
    let touch = bottom.register("touch", |args, _, _| {
        atom(&args, 0, 0);
        Ok::<(), mailring::abi::AbiError>(())
    });
    let touch = touch.unwrap();
    let mut level = Level::new(bottom);
    let wrong = level
        .register("wrong", move |orch, args, config, _| {
            let own = [0u64; 1];
            let address = if args.scalar(0)? == 0 { own.as_ptr() as u64 } else { args.scalar(0)? };
            let tensor = ContinuousTensor::new(address, &[1], mailring::abi::DataType::Uint64)?;
            orch.submit(touch, TaskArgs::new().inout(tensor), *config).map(drop)
        })
        .unwrap();
    let exec = top(Mode::Process, 1, level);
    for address in [0, 4096] {
        let args = TaskArgs::new().scalar(address);
        let failed = failure(exec.run(|orch| orch.submit(wrong, args, config())));
        assert!(failed.message.contains("lies in no live slab"), "{failed}");
    }
}

pub(crate) fn names_and_numbers() {
    let (mut level, each) = adding(Mode::Process, 1, None);
    let again = level.register("each", |_, _, _, _| Ok(()));
    assert!(matches!(again, Err(BuildError::DuplicateFunction(name)) if name == "each"));
    let exec = top(Mode::Process, 1, level);
    // 0 is not a function, nor is one of another level, or of the executors of this one.
    let (mut other, elsewhere) = adding(Mode::Process, 1, None);
    let second = other.register("second", |_, _, _, _| Ok(())).unwrap();
    let mut below = small(Mode::Process, 1);
    let add = below.register("add", bodies::nop).unwrap();
    for wrong in [Callable(0), Callable(1), elsewhere, second, add] {
        let ran = exec.run(|orch| orch.submit(wrong, TaskArgs::new(), config()).map(drop));
        assert!(matches!(ran, Err(Error::UnknownFunction(n)) if n == wrong.0), "{ran:?}");
    }
    let none = exec.buffer::<u64>(0).unwrap();
    exec.run(|orch| orch.submit(each, TaskArgs::new().inout(&none), config()).map(drop)).unwrap();
}

pub(crate) fn a_level_that_cannot_be_built() {
    let refused = |below: Builder| {
        let built = small(Mode::Process, 0).next_level(1, Level::new(below)).build();
        built.err().expect("no executor").to_string()
    };
    let why = refused(small(Mode::Process, 0));
    assert!(why.contains("worker 0 did not start") && why.contains("number of workers 0"), "{why}");
    let twice = small(Mode::Process, 0).next_level(1, Level::new(small(Mode::Process, 0)));
    let why = refused(twice);
    assert!(why.contains("worker 0 did not start: worker 0 did not start"), "{why}");
}

/// A task of a level names what the task above names, and nothing else of that memory: nobody would
/// order it, nor hold it for the level.
pub(crate) fn only_what_the_task_above_names() {
    for (above, below) in BOTH.iter().flat_map(|&a| BOTH.map(|b| (a, b))) {
        let mut builder = small(below, 1);
        let set = builder.register("set", |args, _, _| args.set(0, 0, 9u64)).unwrap();
        let mut level = Level::new(builder);
        let name = level
            .register("name", move |orch, args, config, _| {
                let named = *args.tensor(0)?;
                orch.submit(set, TaskArgs::new().inout(named), *config)?;
                for beside in [named.data() + 8, args.scalar(0)?] {
                    let beside = ContinuousTensor::new(beside, &[1], named.dtype()?)?;
                    match orch.submit(set, TaskArgs::new().inout(beside), *config) {
                        Err(Error::UnknownAddress { .. }) => {}
                        other => return Err(Error::other(format!("{other:?}"))),
                    }
                }
                Ok(())
            })
            .unwrap();
        let exec = top(above, 1, level);
        let [cells, others] = [exec.buffer::<u64>(2).unwrap(), exec.buffer(1).unwrap()];
        let guard = others.read().unwrap();
        for _ in 0..2 {
            let args = TaskArgs::new().inout(at(&cells, 0)).scalar(others.address());
            exec.run(|orch| orch.submit(name, args, config())).unwrap();
        }
        assert_eq!((cells.to_vec().unwrap(), guard[0]), (vec![9, 0], 0));
    }
}

/// Memory of an executor with typed tasks, which hold slices of it, is not for `get` and `set` of a
/// level below.
pub(crate) fn memory_of_typed_tasks_above() {
    for (above, below) in BOTH.iter().flat_map(|&a| BOTH.map(|b| (a, b))) {
        let mut builder = small(below, 1);
        let set = builder.register("set", |args, _, _| args.set(0, 0, 9u64)).unwrap();
        let mut level = Level::new(builder);
        let name = level
            .register("name", move |orch, args, config, _| {
                orch.submit(set, TaskArgs::new().inout(*args.tensor(0)?), *config).map(drop)
            })
            .unwrap();
        let mut builder = small(above, 0).sub_workers(1).next_level(1, level);
        let triple = builder.task("triple", |mut x: InOut<u64>| x[0] *= 3).unwrap();
        let exec = builder.build().unwrap();
        let cell = exec.buffer::<u64>(1).unwrap();
        cell.set(0, 2).unwrap();
        exec.run(|orch| orch.spawn_with(triple, (&cell,), &TaskOptions::sub())).unwrap();
        let ran = exec.run(|orch| orch.submit(name, TaskArgs::new().inout(&cell), config()));
        let failure = failed_as(ran, FailureKind::Error);
        assert!(failure.message.contains("memory of a higher level with typed tasks"), "{failure}");
        assert_eq!(cell.get(0).unwrap(), 6);
    }
}
