//! Scopes: how they open and close, and which heap bytes they hold for how long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mailring::abi::{ContinuousTensor, DataType};
use mailring::graph::{ScopeError, ScopeStack};
use mailring::{Callable, Error, Executor, Mode, Orchestrator, PinnedHeap, TaskOptions};
use testkit::{BOTH, Gate, args, bodies, config, small};

testkit::tests! {
    "scope" in crate {
        none_at_first, ending_none_is_an_error, first_opened_last_closed, an_empty_scope,
        sixty_four_and_no_more, a_scope_is_never_mistaken_for_another, heap_ring_by_depth,
        depth_through_a_run, by_hand, the_runs_own_scope_stays, left_open_ends_with_the_run,
        an_error_closes_it, a_panic_closes_it, the_value_comes_back,
        slabs_are_held_by_the_scope, slabs_come_back_after_it, a_task_holds_them_longer,
        depth_classes_have_rings_of_their_own, a_full_ring_does_not_hinder_the_others,
        a_deadlock_is_said_at_once, a_deadlock_names_an_alloc, unused_allocs_are_given_back,
        a_scope_does_not_wait, a_handle_outlives_its_scope,
        snapshots_are_held_by_their_tasks_alone, snapshots_beside_what_the_scope_holds,
        a_snapshot_that_never_fits, a_deadlock_names_its_holder,
        a_deadlock_names_tasks_that_have_left, a_wait_for_a_slab_names_its_holder,
    }
}

// ---- the stack ----------------------------------------------------------------------------------

fn none_at_first() {
    let stack = ScopeStack::new();
    assert_eq!(stack.depth(), 0);
    assert_eq!(stack.innermost(), None);
    assert!(!stack.is_open(stack.current()), "no scope holds what is made in none");
}

fn ending_none_is_an_error() {
    let mut stack = ScopeStack::new();
    assert_eq!(stack.end(), Err(ScopeError::NoneOpen));
    stack.begin(0).unwrap();
    stack.end().unwrap();
    assert_eq!(stack.end(), Err(ScopeError::NoneOpen));
    assert!(ScopeError::NoneOpen.to_string().contains("without"));
}

fn first_opened_last_closed() {
    let mut stack = ScopeStack::new();
    for first in [10, 20, 30] {
        stack.begin(first).unwrap();
    }
    for (depth, first) in [(3, 30), (2, 20), (1, 10)] {
        assert_eq!(stack.depth(), depth);
        assert_eq!(stack.innermost().map(|scope| scope.first), Some(first));
        assert_eq!(stack.end().unwrap().first, first);
    }
    assert_eq!(stack.depth(), 0);
}

fn an_empty_scope() {
    let mut stack = ScopeStack::new();
    stack.begin(7).unwrap();
    assert_eq!(stack.end().unwrap().first, 7);
}

fn sixty_four_and_no_more() {
    let mut stack = ScopeStack::new();
    (0..64).for_each(|n| stack.begin(n).unwrap());
    assert_eq!(stack.begin(64), Err(ScopeError::TooDeep));
    assert_eq!(stack.depth(), 64, "a refused begin changes nothing");
    assert_eq!(stack.end().unwrap().first, 63);
    stack.begin(99).unwrap();
}

fn a_scope_is_never_mistaken_for_another() {
    let mut stack = ScopeStack::new();
    stack.begin(0).unwrap();
    stack.begin(0).unwrap();
    let inner = stack.current();
    assert!(stack.is_open(inner));
    stack.end().unwrap();
    assert!(!stack.is_open(inner));
    stack.begin(0).unwrap();
    assert!(!stack.is_open(inner), "same depth, another scope");
    assert!(stack.is_open(stack.current()));
}

fn heap_ring_by_depth() {
    let mut stack = ScopeStack::new();
    for depth in 0..64 {
        stack.begin(0).unwrap();
        assert_eq!(stack.heap_ring(), depth.min(3));
    }
}

// ---- through a run ------------------------------------------------------------------------------

struct Kit {
    exec: Executor,
    /// Adds one to element 1 of its first tensor, waits until element 0 is 1.
    gate: Callable,
    /// Writes all bytes of its first tensor.
    fill: Callable,
}

/// Heap rings of 8 KiB.
fn kit(mode: Mode) -> Kit {
    let mut builder = small(mode, 2).heap_bytes(8 << 10);
    let gate = builder.register("gate", bodies::gate).unwrap();
    let fill = builder
        .register("fill", |args, _, _| {
            let (_, count) = args.elements::<u8>(0)?;
            (0..count).try_for_each(|i| args.set(0, i, 9u8))
        })
        .unwrap();
    Kit { exec: builder.build().unwrap(), gate, fill }
}

fn bytes(len: u32) -> ContinuousTensor {
    ContinuousTensor::new(0, &[len], DataType::Uint8).unwrap()
}

fn dive(orch: &mut Orchestrator, depth: usize) -> Result<(), Error> {
    assert_eq!(orch.scope_depth(), depth);
    if depth < 64 {
        return orch.scope(|orch| dive(orch, depth + 1));
    }
    let error = orch.scope(|_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::ScopeDepth), "{error}");
    assert!(error.to_string().contains("64"), "{error}");
    assert_eq!(orch.scope_depth(), 64);
    Ok(())
}

fn depth_through_a_run() {
    for mode in BOTH {
        let kit = kit(mode);
        for _ in 0..3 {
            kit.exec
                .run(|orch| {
                    dive(orch, 1)?;
                    assert_eq!(orch.scope_depth(), 1);
                    Ok(())
                })
                .unwrap();
        }
    }
}

fn by_hand() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            for depth in 2..=64 {
                orch.scope_begin()?;
                assert_eq!(orch.scope_depth(), depth);
                if depth < 8 {
                    orch.submit(kit.fill, args().output(bytes(1)), config())?;
                }
            }
            assert!(matches!(orch.scope_begin(), Err(Error::ScopeDepth)));
            for depth in (1..64).rev() {
                orch.scope_end()?;
                assert_eq!(orch.scope_depth(), depth);
            }
            Ok(())
        })
        .unwrap();
}

fn the_runs_own_scope_stays() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            let error = orch.scope_end().unwrap_err();
            assert!(matches!(error, Error::NoScope), "{error}");
            assert_eq!(orch.scope_depth(), 1);
            orch.scope(|orch| {
                // A scope closed by hand inside its own closure is closed once.
                orch.scope_end()
            })?;
            assert_eq!(orch.scope_depth(), 1);
            Ok(())
        })
        .unwrap();
}

fn left_open_ends_with_the_run() {
    let kit = kit(Mode::Process);
    for _ in 0..10 {
        kit.exec
            .run(|orch| {
                assert_eq!(orch.scope_depth(), 1, "the run's own");
                (0..5).try_for_each(|_| orch.scope_begin())?;
                // Half of what a ring has: it is there again in the next round.
                (0..4).try_for_each(|_| {
                    orch.submit(kit.fill, args().output(bytes(1024)), config()).map(drop)
                })
            })
            .unwrap();
    }
}

fn an_error_closes_it() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            let inner = orch.scope(|orch| {
                orch.scope_begin()?;
                Err::<(), _>(Error::other("no"))
            });
            assert_eq!(inner.unwrap_err().to_string(), "no");
            assert_eq!(orch.scope_depth(), 1);
            Ok(())
        })
        .unwrap();
}

fn a_panic_closes_it() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            for _ in 0..20 {
                let panic = catch_unwind(AssertUnwindSafe(|| {
                    orch.scope(|orch| -> Result<(), Error> {
                        orch.submit(kit.fill, args().output(bytes(4096)), config())?;
                        orch.scope(|_| panic!("inside"))
                    })
                }));
                assert!(panic.is_err());
                assert_eq!(orch.scope_depth(), 1);
            }
            Ok(())
        })
        .unwrap();
}

fn the_value_comes_back() {
    let kit = kit(Mode::Process);
    let value = kit.exec.run(|orch| orch.scope(|orch| orch.scope(|_| Ok("inside".to_owned()))));
    assert_eq!(value.unwrap(), "inside");
}

// ---- heap bytes ---------------------------------------------------------------------------------

/// What was made in a scope is there until it closes, even when nobody names it any more.
fn slabs_are_held_by_the_scope() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let mut made = Vec::new();
                for _ in 0..8 {
                    let handle = orch.submit(kit.fill, args().output(bytes(1000)), config())?;
                    orch.wait(&handle)?;
                    made.push(handle.tensor(0)?.data());
                }
                made.sort_unstable();
                assert!(made.windows(2).all(|pair| pair[1] - pair[0] == 1024), "{made:?}");
                assert!(made.iter().all(|address| address % 1024 == 0));
                Ok(())
            })
            .unwrap();
    }
}

fn slabs_come_back_after_it() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                for _ in 0..200 {
                    orch.scope(|orch| {
                        orch.submit(kit.fill, args().output(bytes(3000)), config())?;
                        let temporary = orch.alloc(&[2000], DataType::Uint8)?;
                        orch.submit(kit.fill, args().output_existing(temporary), config())
                    })?;
                }
                Ok(())
            })
            .unwrap();
    }
}

/// The scope has closed, a task that names the bytes has not begun: they are not given away.
fn a_task_holds_them_longer() {
    for mode in BOTH {
        let kit = kit(mode);
        let state = Gate::new(&kit.exec);
        let out = kit.exec.buffer::<u8>(4096).unwrap();
        let ran = kit.exec.run(|orch| {
            let made = orch.scope(|orch| {
                let made = orch.submit(kit.fill, args().output(bytes(4096)), config())?;
                let gated = args().input(made.tensor(0)?).no_dep(state.tensor());
                orch.submit(kit.gate, gated, config())?;
                Ok(made)
            })?;
            state.await_begun(1);
            let first = made.tensor(0)?.data();
            orch.scope(|orch| {
                let other = orch.submit(kit.fill, args().output(bytes(4096)), config())?;
                assert_ne!(other.tensor(0)?.data(), first);
                Ok(())
            })?;
            state.open();
            orch.scope(|orch| orch.submit(kit.fill, args().output(bytes(8192)), config()))?;
            // Its own handle does not hold them: naming them now is refused.
            let late = args().input(made.tensor(0)?).output(out.tensor());
            orch.submit(kit.fill, late, config()).map(drop)
        });
        // The large slab above lies over the old bytes, so they may be named again as part of it.
        assert!(matches!(ran, Ok(()) | Err(Error::UnknownAddress { .. })), "{ran:?}");
    }
}

fn depth_classes_have_rings_of_their_own() {
    fn addresses(orch: &mut Orchestrator, found: &mut Vec<u64>, depth: usize) -> Result<(), Error> {
        found.push(orch.alloc(&[1], DataType::Uint8)?.data());
        if depth == 6 {
            return Ok(());
        }
        orch.scope(|orch| addresses(orch, found, depth + 1))
    }
    for mode in BOTH {
        let kit = kit(mode);
        let mut found = Vec::new();
        kit.exec.run(|orch| addresses(orch, &mut found, 1)).unwrap();
        for pair in found[..4].windows(2) {
            assert_eq!(pair[1] - pair[0], 8192, "{found:?}");
        }
        assert_eq!(found[4] - found[3], 1024, "all deeper ones share the last: {found:?}");
        assert_eq!(found[5] - found[4], 1024);
    }
}

fn a_full_ring_does_not_hinder_the_others() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            orch.submit(kit.fill, args().output(bytes(8192)), config())?;
            for _ in 0..50 {
                orch.scope(|orch| orch.submit(kit.fill, args().output(bytes(8192)), config()))?;
            }
            Ok(())
        })
        .unwrap();
}

/// The bytes are held by a scope that only the blocked thread can close.
fn a_deadlock_is_said_at_once() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                let named = TaskOptions::new().name("hoarder");
                for _ in 0..2 {
                    let all = args().output(bytes(3072));
                    orch.submit_with(kit.fill, all, config(), &named)?;
                }
                let began = Instant::now();
                let error =
                    orch.submit(kit.fill, args().output(bytes(2500)), config()).unwrap_err();
                assert!(began.elapsed() < Duration::from_secs(5));
                let text = error.to_string();
                for part in ["hoarder", "6144 of 8192", "3072", "scope 1", "close the scope"] {
                    assert!(text.contains(part), "{part:?} is not in {text:?}");
                }
                let Error::HeapDeadlock(pinned) = error else { panic!("{error}") };
                assert_eq!((pinned.ring, pinned.scope), (0, 1));
                let error = orch.try_submit(kit.fill, args().output(bytes(2500)), config());
                assert!(matches!(error.unwrap_err().error, Error::HeapDeadlock { .. }));
                // What fits is still taken.
                orch.submit(kit.fill, args().output(bytes(2000)), config())?;
                orch.scope(|orch| {
                    orch.submit(kit.fill, args().output(bytes(8192)), config())?;
                    let error = orch.alloc(&[1], DataType::Uint8).unwrap_err();
                    let Error::HeapDeadlock(pinned) = error else { panic!("{error}") };
                    assert_eq!((pinned.ring, pinned.scope), (1, 2));
                    Ok(())
                })
            })
            .unwrap();
        assert_eq!(kit.exec.stats().submitted, 4);
    }
}

fn a_deadlock_names_an_alloc() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            orch.alloc(&[8000], DataType::Uint8)?;
            let error = orch.alloc(&[1], DataType::Uint8).unwrap_err();
            assert!(error.to_string().contains("alloc"), "{error}");
            Ok(())
        })
        .unwrap();
}

fn unused_allocs_are_given_back() {
    for mode in BOTH {
        let kit = kit(mode);
        for _ in 0..100 {
            kit.exec
                .run(|orch| {
                    orch.alloc(&[8192], DataType::Uint8)?;
                    orch.scope(|orch| orch.alloc(&[8192], DataType::Uint8))?;
                    orch.scope(|orch| orch.alloc(&[8192], DataType::Uint8)).map(drop)
                })
                .unwrap();
        }
    }
}

fn a_scope_does_not_wait() {
    for mode in BOTH {
        let kit = kit(mode);
        let state = Gate::new(&kit.exec);
        kit.exec
            .run(|orch| {
                orch.scope(|orch| orch.submit(kit.gate, state.args(), config()).map(drop))?;
                // Were it to wait, nobody would ever open.
                state.open();
                Ok(())
            })
            .unwrap();
    }
}

fn a_handle_outlives_its_scope() {
    let kit = kit(Mode::Process);
    kit.exec
        .run(|orch| {
            let handle =
                orch.scope(|orch| orch.submit(kit.fill, args().output(bytes(10)), config()))?;
            orch.wait(&handle)?;
            assert!(!orch.cancel(&handle));
            Ok(())
        })
        .unwrap();
}

/// Their copies go when the task is through, whatever the scope does.
fn snapshots_are_held_by_their_tasks_alone() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u8>(3000).unwrap();
        let options = TaskOptions::new().snapshot().retries(1);
        kit.exec
            .run(|orch| {
                for _ in 0..60 {
                    let all = args().inout(data.tensor());
                    let handle = orch.submit_with(kit.fill, all, config(), &options)?;
                    orch.wait(&handle)?;
                }
                // And without waiting: a submit waits for the oldest copy, not for a scope.
                for _ in 0..60 {
                    orch.submit_with(kit.fill, args().inout(data.tensor()), config(), &options)?;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(data.to_vec().unwrap(), [9; 3000]);
    }
}

/// An older slab of the scope keeps what is behind it in its ring; copies are not behind it.
fn snapshots_beside_what_the_scope_holds() {
    for mode in BOTH {
        let kit = kit(mode);
        let data = kit.exec.buffer::<u8>(3000).unwrap();
        let options = TaskOptions::new().snapshot().retries(1);
        kit.exec
            .run(|orch| {
                orch.alloc(&[8192], DataType::Uint8)?;
                for _ in 0..20 {
                    orch.submit_with(kit.fill, args().inout(data.tensor()), config(), &options)?;
                    let refused = orch.try_submit(kit.fill, args().output(bytes(1)), config());
                    assert!(matches!(refused.unwrap_err().error, Error::HeapDeadlock(_)));
                }
                orch.scope(|orch| {
                    for _ in 0..8 {
                        let all = args().inout(data.tensor()).output(bytes(1000));
                        orch.submit_with(kit.fill, all, config(), &options)?;
                    }
                    Ok(())
                })
            })
            .unwrap();
    }
}

fn a_snapshot_that_never_fits() {
    let kit = kit(Mode::Process);
    let data = kit.exec.buffer::<u8>(9000).unwrap();
    let options = TaskOptions::new().snapshot().retries(1);
    kit.exec
        .run(|orch| {
            let all = args().inout(data.tensor());
            let error = orch.submit_with(kit.fill, all, config(), &options).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("snapshot") && text.contains("raise heap_bytes"), "{text}");
            orch.submit(kit.fill, args().inout(data.tensor()), config()).map(drop)
        })
        .unwrap();
}

fn pinned<T: std::fmt::Debug>(result: Result<T, Error>) -> (PinnedHeap, String) {
    match result {
        Err(Error::HeapDeadlock(pinned)) => (*pinned.clone(), pinned.to_string()),
        other => panic!("expected a full heap ring, not {other:?}"),
    }
}

fn a_deadlock_names_its_holder() {
    for mode in BOTH {
        let kit = kit(mode);
        kit.exec
            .run(|orch| {
                // An alloc that no task has named, in a scope opened by hand.
                orch.scope_begin()?;
                let all = orch.alloc(&[8192], DataType::Uint8)?;
                let (at, text) = pinned(orch.alloc(&[1], DataType::Uint8));
                assert_eq!((at.scope, at.argument, at.alloc, at.ring), (2, false, true, 1));
                assert!(text.contains("the open scope 2") && text.contains("alloc"), "{text}");
                // Named by a task since, it still is an alloc.
                let named = orch.submit(kit.fill, args().inout(all), config())?;
                orch.wait(&named)?;
                let (at, text) = pinned(orch.alloc(&[1], DataType::Uint8));
                assert_eq!((at.scope, at.argument, at.alloc), (2, false, true), "{text}");
                // Named by the very submit as well.
                let both = args().inout(all).output(bytes(1));
                let (at, text) = pinned(orch.submit(kit.fill, both, config()));
                assert_eq!((at.scope, at.argument, at.alloc), (2, true, true));
                assert!(text.contains("scope 2") && text.contains("this very submit"), "{text}");
                orch.scope_end()?;
                // By nothing else.
                let both = args().inout(all).output(bytes(1));
                orch.scope_begin()?;
                let (at, text) = pinned(orch.submit(kit.fill, both, config()));
                assert_eq!((at.scope, at.argument, at.alloc), (0, true, true));
                assert!(!text.contains("open scope"), "{text}");
                orch.scope_end()?;
                // An output that later tasks read is its maker's still.
                let made = orch.submit_with(
                    kit.fill,
                    args().output(bytes(8192)),
                    config(),
                    &TaskOptions::new().name("maker"),
                )?;
                orch.submit(kit.fill, args().inout(made.tensor(0)?), config())?;
                let (at, text) = pinned(orch.alloc(&[1], DataType::Uint8));
                assert_eq!((at.name.as_str(), at.task, at.alloc), ("maker", made.id(), false));
                assert!(text.contains("`maker`") && text.contains("the open scope 1"), "{text}");
                Ok(())
            })
            .unwrap();
    }
}

/// Also when the slot of the task, and with it its task descriptor, has been used again often.
fn a_deadlock_names_tasks_that_have_left() {
    for mode in BOTH {
        for name in [Some("hoarder"), None] {
            let kit = kit(mode);
            let cell = kit.exec.buffer::<u8>(1).unwrap();
            let named = match name {
                Some(name) => TaskOptions::new().name(name),
                None => TaskOptions::new(),
            };
            kit.exec
                .run(|orch| {
                    let all = args().output(bytes(8192));
                    orch.submit_with(kit.fill, all, config(), &named)?;
                    for _ in 0..600 {
                        orch.submit(kit.fill, args().inout(cell.tensor()), config())?;
                    }
                    let (at, text) = pinned(orch.alloc(&[1], DataType::Uint8));
                    assert_eq!(at.name, name.unwrap_or("fill"), "{text}");
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// What can be waited for is named as well: by whom the oldest slab is held, and whose it is.
fn a_wait_for_a_slab_names_its_holder() {
    for mode in BOTH {
        let kit = kit(mode);
        let state = Gate::new(&kit.exec);
        kit.exec
            .run(|orch| {
                orch.scope(|orch| {
                    let named = TaskOptions::new().name("maker");
                    let all = args().output(bytes(8192));
                    let made = orch.submit_with(kit.fill, all, config(), &named)?;
                    let gated = args().input(made.tensor(0)?).no_dep(state.tensor());
                    let named = TaskOptions::new().name("reader");
                    orch.submit_with(kit.gate, gated, config(), &named).map(drop)
                })?;
                state.await_begun(1);
                let refused = orch.scope(|orch| {
                    let refused = orch.try_submit(kit.fill, args().output(bytes(1)), config());
                    Ok(refused.unwrap_err().error.to_string())
                })?;
                for part in ["`maker`", "held by task 1 (`reader`)", "8192 bytes"] {
                    assert!(refused.contains(part), "{part:?} is not in {refused:?}");
                }
                state.open();
                Ok(())
            })
            .unwrap();
    }
}
