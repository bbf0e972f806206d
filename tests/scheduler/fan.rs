//! Any number of producers and of consumers: more producers than a word has bits are collected by
//! fan-in nodes.

use mailring::{Callable, Executor, Mode, TaskOptions};
use testkit::{BOTH, Gate, args, at, bodies, config, small};

struct Adder {
    exec: Executor,
    put: Callable,
    sum: Callable,
}

fn adder(mode: Mode, window: usize) -> Adder {
    let mut builder = small(mode, 3).slot_window(window);
    let put = builder.register("put", bodies::put).unwrap();
    let sum = builder.register("sum", bodies::sum).unwrap();
    Adder { exec: builder.build().unwrap(), put, sum }
}

/// `count` tasks write one element each, one task reads them all; several times over.
fn fan_in(mode: Mode, window: usize, count: usize, rounds: u64) {
    let Adder { exec, put, sum } = adder(mode, window);
    let data = exec.buffer::<u64>(count).unwrap();
    let out = exec.buffer::<u64>(1).unwrap();
    for round in 0..rounds {
        exec.run(|orch| {
            for i in 0..count {
                let value = i as u64 * round + 1;
                orch.submit(put, args().output(at(&data, i)).scalar(value), config())?;
            }
            let all = args().input(data.tensor()).output(out.tensor());
            orch.submit_with(sum, all, config(), &TaskOptions::new()).map(drop)
        })
        .unwrap();
        let expected = (0..count as u64).map(|i| i * round + 1).sum::<u64>();
        assert_eq!(out.get(0).unwrap(), expected, "{mode:?}, {count} producers, round {round}");
    }
}

pub(crate) fn in_of_47_and_48() {
    for mode in BOTH {
        for count in [1, 2, 46, 47, 48, 49, 93, 94, 95] {
            fan_in(mode, 256, count, 20);
        }
    }
}

pub(crate) fn in_of_hundreds() {
    for mode in BOTH {
        fan_in(mode, 1024, 700, 10);
    }
}

/// More than 47 times 47: fan-in nodes of fan-in nodes. Also with a window that holds not nearly
/// all of them.
pub(crate) fn in_of_thousands() {
    for mode in BOTH {
        fan_in(mode, 4096, 2300, 5);
        fan_in(mode, 1024, 2300, 5);
        fan_in(mode, 64, 2300, 5);
    }
}

pub(crate) fn out_of_thousands() {
    for mode in BOTH {
        for window in [4096, 64] {
            let Adder { exec, put, sum } = adder(mode, window);
            let data = exec.buffer::<u64>(4001).unwrap();
            for round in 1..=3 {
                exec.run(|orch| {
                    orch.submit(put, args().output(at(&data, 0)).scalar(round), config())?;
                    for i in 1..=4000 {
                        let all = args().input(at(&data, 0)).output(at(&data, i));
                        orch.submit(sum, all, config())?;
                    }
                    Ok(())
                })
                .unwrap();
                assert!(data.to_vec().unwrap().iter().all(|&v| v == round));
            }
        }
    }
}

/// 20 layers of 40 tasks, each of which reads the whole layer before.
pub(crate) fn all_to_all_layers() {
    const WIDE: usize = 40;
    for mode in BOTH {
        let Adder { exec, put, sum } = adder(mode, 256);
        let layers = [exec.buffer::<u64>(WIDE).unwrap(), exec.buffer::<u64>(WIDE).unwrap()];
        exec.run(|orch| {
            for i in 0..WIDE {
                orch.submit(put, args().output(at(&layers[0], i)).scalar(1), config())?;
            }
            for depth in 0..10 {
                let (from, to) = (&layers[depth % 2], &layers[1 - depth % 2]);
                for i in 0..WIDE {
                    let all = args().input(from.tensor()).output(at(to, i));
                    orch.submit(sum, all, config())?;
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(layers[0].to_vec().unwrap(), [(WIDE as u64).pow(10); WIDE]);
    }
}

/// The writers of many parts are in flight: who reads all of them waits for one task, which goes its
/// way whatever becomes of the one that was submitted when it was made.
pub(crate) fn readers_of_parts_in_flight() {
    const PARTS: usize = 300;
    const READERS: usize = 60;
    for mode in BOTH {
        let mut builder = small(mode, 3).slot_window(1024);
        let put = builder.register("put", bodies::put).unwrap();
        let sum = builder.register("sum", bodies::sum).unwrap();
        let gate = builder.register("gate", bodies::gate).unwrap();
        let exec = builder.build().unwrap();
        let state = Gate::new(&exec);
        let data = exec.buffer::<u64>(PARTS).unwrap();
        let out = exec.buffer::<u64>(3 * READERS).unwrap();
        let all = |to: usize| args().input(data.tensor()).output(at(&out, to));
        exec.run(|orch| {
            let first = args().inout(data.tensor()).no_dep(state.tensor());
            orch.submit(gate, first, config())?;
            for i in 0..PARTS {
                orch.submit(put, args().output(at(&data, i)).scalar(1), config())?;
            }
            let cancelled = orch.scope(|orch| {
                orch.submit(sum, all(0), config())?; // the first of them
                Ok(orch.cancel_scope())
            })?;
            assert_eq!(cancelled, 1);
            for reader in 0..READERS {
                orch.submit(sum, all(reader), config())?;
            }
            // They read what was there before; those who come now read what is written here.
            for i in 0..PARTS {
                orch.submit(put, args().output(at(&data, i)).scalar(2), config())?;
            }
            for reader in READERS..2 * READERS {
                orch.submit(sum, all(reader), config())?;
            }
            orch.submit(put, args().output(at(&data, 7)).scalar(102), config())?;
            for reader in 2 * READERS..3 * READERS {
                orch.submit(sum, all(reader), config())?;
            }
            state.open();
            Ok(())
        })
        .unwrap_err(); // of the one that was cancelled
        let sums = [PARTS, 2 * PARTS, 2 * PARTS + 100];
        let expected: Vec<u64> = sums.iter().flat_map(|&sum| [sum as u64; READERS]).collect();
        assert_eq!(out.to_vec().unwrap(), expected, "{mode:?}");
    }
}

/// A part whose writer fails, and is written again before the second half of the readers.
pub(crate) fn readers_of_a_part_that_failed() {
    const PARTS: usize = 200;
    for mode in BOTH {
        let mut builder = small(mode, 2).slot_window(1024);
        let put = builder.register("put", bodies::put).unwrap();
        let sum = builder.register("sum", bodies::sum).unwrap();
        let fail = builder.register("fail", bodies::fail).unwrap();
        let gate = builder.register("gate", bodies::gate).unwrap();
        let exec = builder.build().unwrap();
        let state = Gate::new(&exec);
        let data = exec.buffer::<u64>(PARTS).unwrap();
        let out = exec.buffer::<u64>(20).unwrap();
        let failure = exec
            .run(|orch| {
                let first = args().inout(data.tensor()).no_dep(state.tensor());
                orch.submit(gate, first, config())?;
                for i in 0..PARTS {
                    let does = if i == 11 { fail } else { put };
                    orch.submit(does, args().output(at(&data, i)).scalar(1), config())?;
                }
                for reader in 0..20 {
                    if reader == 10 {
                        orch.submit(put, args().output(at(&data, 11)).scalar(1), config())?;
                    }
                    let all = args().input(data.tensor()).output(at(&out, reader));
                    orch.submit(sum, all, config())?;
                }
                state.open();
                Ok(())
            })
            .unwrap_err();
        assert!(failure.to_string().contains("`fail`"), "{failure}");
        let mut expected = [0; 20];
        expected[10..].fill(PARTS as u64);
        assert_eq!(out.to_vec().unwrap(), expected, "{mode:?}");
    }
}

pub(crate) fn diamonds() {
    for mode in BOTH {
        let Adder { exec, put, sum } = adder(mode, 64);
        let data = exec.buffer::<u64>(3).unwrap();
        exec.run(|orch| {
            orch.submit(put, args().output(at(&data, 0)).scalar(1), config())?;
            for _ in 0..1000 {
                for i in 1..3 {
                    orch.submit(sum, args().input(at(&data, 0)).output(at(&data, i)), config())?;
                }
                let sides = data.view(1, &[2])?;
                orch.submit(sum, args().input(sides).output(at(&data, 0)), config())?;
                orch.submit(put, args().output(at(&data, 0)).scalar(1), config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap(), [1, 1, 1]);
    }
}

/// Producers that left the window long ago count as finished, in this run and in later ones.
pub(crate) fn in_from_the_past() {
    for mode in BOTH {
        let Adder { exec, put, sum } = adder(mode, 16);
        let data = exec.buffer::<u64>(600).unwrap();
        let out = exec.buffer::<u64>(2).unwrap();
        for round in 0..20 {
            exec.run(|orch| {
                for i in 0..600 {
                    orch.submit(put, args().output(at(&data, i)).scalar(round), config())?;
                }
                Ok(())
            })
            .unwrap();
            exec.run(|orch| {
                for i in 0..2 {
                    let all = args().input(data.tensor()).output(at(&out, i));
                    orch.submit(sum, all, config())?;
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(out.to_vec().unwrap(), [600 * round; 2]);
        }
    }
}
