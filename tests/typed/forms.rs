//! What a body can take and return, and what can be passed to it.

use std::sync::atomic::Ordering::SeqCst;

use bytemuck::{Pod, Zeroable};
use mailring::abi::Element;
use mailring::prelude::*;
use mailring::{FailureKind, Level, WorkerId};
use testkit::{BOTH, BoxError, args, bodies, cell, config, failed_as, small};

pub(crate) fn slices_and_scalars() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let fill = builder
            .task("fill", |mut out: Out<u64>, start: u64| {
                for (i, x) in out.iter_mut().enumerate() {
                    *x = start + i as u64;
                }
            })
            .unwrap();
        let add = builder
            .task("add", |x: In<u64>, y: In<u64>, mut z: Out<u64>| {
                for i in 0..z.len() {
                    z[i] = x[i] + y[i];
                }
            })
            .unwrap();
        let double =
            builder.task("double", |mut x: InOut<u64>| x.iter_mut().for_each(|x| *x *= 2)).unwrap();
        let exec = builder.build().unwrap();
        let [a, b, c] = [(); 3].map(|()| exec.buffer(100).unwrap());
        let id = exec.run(|s| {
            s.spawn(fill, (&a, 1))?;
            s.spawn(fill, (&b, 1000))?;
            s.spawn(add, (&a, &b, &c))?;
            s.spawn(double, (&c,))
        });
        assert_eq!(id.unwrap().id().0, 3);
        let expected: Vec<u64> = (0..100).map(|i| 2 * (1 + i + 1000 + i)).collect();
        assert_eq!(c.to_vec().unwrap(), expected);
        // The same bytes may be read twice.
        exec.run(|s| s.spawn(add, (&a, &a, &b))).unwrap();
        assert_eq!(b.get(99).unwrap(), 200);
    }
}

pub(crate) fn no_parameters() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nothing = builder.task("nothing", || ()).unwrap();
        let alone = builder.task("alone", |_: &TaskContext| ()).unwrap();
        let exec = builder.build().unwrap();
        exec.run(|s| {
            s.spawn(nothing, ())?;
            s.spawn(alone, ())
        })
        .unwrap();
        assert_eq!(exec.stats().bodies, 2);
    }
}

pub(crate) fn twelve_parameters() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let all = builder
            .task(
                "all",
                |context: &TaskContext,
                 a: In<u64>,
                 b: u64,
                 c: In<u32>,
                 d: f64,
                 e: InOut<u64>,
                 f: i32,
                 mut g: Out<f64>,
                 h: u8,
                 i: In<u64>,
                 j: u64,
                 k: In<u64>,
                 l: u64| {
                    assert!(context.group().is_none());
                    let e = e.into_slice();
                    e[0] += a[0] + b + u64::from(c[0]) + i[0] + j + k[0] + l;
                    g[0] = d + f64::from(f) + f64::from(h);
                },
            )
            .unwrap();
        let plain = builder
            .task(
                "plain",
                |mut a: Out<u64>,
                 b: u64,
                 c: u64,
                 d: u64,
                 e: u64,
                 f: u64,
                 g: u64,
                 h: u64,
                 i: u64,
                 j: u64,
                 k: u64,
                 l: u64| a[0] = [b, c, d, e, f, g, h, i, j, k, l].iter().sum(),
            )
            .unwrap();
        let exec = builder.build().unwrap();
        let words = exec.buffer::<u64>(4).unwrap();
        words.copy_from_slice(&[1, 10, 100, 1000]).unwrap();
        let (half, float) = (exec.buffer::<u32>(1).unwrap(), exec.buffer(1).unwrap());
        half.set(0, 10_000).unwrap();
        let at = |i| words.part(i..=i);
        exec.run(|s| {
            s.spawn(
                all,
                (at(0), 100_000, &half, 0.5, at(3), -3, &float, 5, at(1), 3 << 40, at(2), 1 << 40),
            )
        })
        .unwrap();
        assert_eq!(words.get(3).unwrap(), 111_111 + (4 << 40));
        assert_eq!(float.get(0).unwrap(), 2.5);
        exec.run(|s| s.spawn(plain, (at(0), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))).unwrap();
        assert_eq!(words.get(0).unwrap(), 66);
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f32,
    y: i32,
}

pub(crate) fn every_scalar() {
    let mut builder = small(Mode::Thread, 1);
    let small_ones = builder
        .task("small", |mut out: Out<f64>, a: u8, b: i8, c: u16, d: i16, e: u32, f: i32, g: f32| {
            let all = [a.into(), b.into(), c.into(), d.into(), e.into(), f.into(), g.into()];
            out.copy_from_slice(&all);
        })
        .unwrap();
    let large_ones = builder
        .task("large", |mut out: Out<f64>, a: usize, b: i64, c: f64, d: [u8; 3], e: Point| {
            let all = [a as f64, b as f64, c, d[2].into(), e.x.into(), e.y.into(), 0.0];
            out.copy_from_slice(&all);
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let out = exec.buffer(7).unwrap();
    exec.run(|s| s.spawn(small_ones, (&out, 200, -100, 60_000, -30_000, 1 << 31, -1, 0.25)))
        .unwrap();
    assert_eq!(out.to_vec().unwrap(), [200.0, -100.0, 6e4, -3e4, 2_147_483_648.0, -1.0, 0.25]);
    let point = Point { x: 1.5, y: -7 };
    exec.run(|s| s.spawn(large_ones, (&out, 1 << 40, i64::MIN, f64::MAX, [1, 2, 3], point)))
        .unwrap();
    assert_eq!(out.to_vec().unwrap()[..3], [(1u64 << 40) as f64, -(2f64.powi(63)), f64::MAX]);
    assert_eq!(out.to_vec().unwrap()[3..], [3.0, 1.5, -7.0, 0.0]);
}

pub(crate) fn every_element() {
    fn check<T: Element + PartialEq + std::fmt::Debug>(mode: Mode, values: [T; 3]) {
        let mut builder = small(mode, 1);
        let reverse = builder
            .task("reverse", |x: In<T>, mut y: Out<T>| {
                y.iter_mut().zip(x.iter().rev()).for_each(|(y, x)| *y = *x);
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let [x, y] = [exec.buffer(3).unwrap(), exec.buffer(3).unwrap()];
        x.copy_from_slice(&values).unwrap();
        exec.run(|s| s.spawn(reverse, (&x, &y))).unwrap();
        let mut expected = values;
        expected.reverse();
        assert_eq!(y.to_vec().unwrap(), expected);
    }
    let mode = Mode::Thread;
    check(mode, [1u8, 2, 255]);
    check(mode, [1i8, 2, -128]);
    check(mode, [1u16, 2, u16::MAX]);
    check(mode, [1i16, 2, i16::MIN]);
    check(mode, [1u32, 2, u32::MAX]);
    check(mode, [1i32, 2, i32::MIN]);
    check(mode, [1f32, 2.0, f32::MIN]);
    check(mode, [1u64, 2, u64::MAX]);
    check(mode, [1i64, 2, i64::MIN]);
    check(Mode::Process, [1f64, 2.0, f64::MIN]);
}

pub(crate) fn the_context_comes_first() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let who = builder
            .task("who", |context: &TaskContext, mut out: Out<u64>| {
                out[0] = context.task().0;
                out[1] = context.worker().0.into();
                out[2] = context.attempt().into();
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let out = exec.buffer(3).unwrap();
        let options = TaskOptions::new().on(WorkerId(1));
        exec.run(|s| {
            s.spawn(who, (&out,))?;
            s.spawn_with(who, (&out,), &options)
        })
        .unwrap();
        assert_eq!(out.to_vec().unwrap(), [1, 1, 1]);
    }
}

pub(crate) fn results_and_panics() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let check = builder
            .task(
                "check",
                |x: In<u64>| {
                    if x[0] == 0 { Err(format!("{} zeros", x.len())) } else { Ok(()) }
                },
            )
            .unwrap();
        let parse = builder
            .task("parse", |digit: u8| -> Result<(), std::num::ParseIntError> {
                std::str::from_utf8(&[digit]).unwrap().parse::<u32>()?;
                Ok(())
            })
            .unwrap();
        let index = builder
            .task("index", |mut x: InOut<u64>, at: usize| {
                x[0] += 1;
                x[at] = 1;
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer(3).unwrap();
        let failure = failed_as(exec.run(|s| s.spawn(check, (&data,))), FailureKind::Error);
        assert_eq!((failure.name.as_str(), failure.message.as_str()), ("check", "3 zeros"));
        let failure = failed_as(exec.run(|s| s.spawn(parse, (b'x',))), FailureKind::Error);
        assert_eq!(failure.message, "invalid digit found in string");
        let failure = failed_as(exec.run(|s| s.spawn(index, (&data, 3))), FailureKind::Panic);
        assert!(failure.message.contains("index out of bounds"), "{failure}");
        // What was written before is there, and what reads it fails with it.
        let failure = failed_as(
            exec.run(|s| {
                s.spawn(index, (&data, 7))?;
                s.spawn(check, (&data,))
            }),
            FailureKind::Panic,
        );
        assert_eq!(failure.name, "index");
        assert_eq!(data.to_vec().unwrap(), [2, 0, 0]);
        exec.run(|s| {
            s.spawn(check, (&data,))?;
            s.spawn(parse, (b'4',))
        })
        .unwrap();
    }
}

fn negate(mut x: InOut<'_, i64>) {
    x.iter_mut().for_each(|x| *x = -*x);
}

fn shout(_: &TaskContext<'_>, x: In<'_, i64>) -> Result<(), String> {
    Err(format!("{:?}", &x[..]))
}

pub(crate) fn functions_are_bodies() {
    let mut builder = small(Mode::Thread, 1);
    let negate = builder.task("negate", negate).unwrap();
    let shout = builder.task("shout", shout).unwrap();
    let copy = negate; // handles are plain numbers
    let exec = builder.build().unwrap();
    let data = exec.buffer(2).unwrap();
    data.copy_from_slice(&[1, 2]).unwrap();
    let failure = failed_as(
        exec.run(|s| {
            s.spawn(negate, (&data,))?;
            s.spawn(copy, (data.part(1..),))?;
            s.spawn(shout, (&data,))
        }),
        FailureKind::Error,
    );
    assert_eq!(failure.message, "[-1, 2]");
}

pub(crate) fn parts_and_shapes() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let transpose = builder
            .task("transpose", |x: In<f32>, mut y: Out<f32>| {
                assert_eq!((x.shape(), y.shape()), (&[2u32, 3][..], &[3u32, 2][..]));
                for (j, row) in y.rows_mut().enumerate() {
                    for (y, x) in row.iter_mut().zip(x.rows()) {
                        *y = x[j];
                    }
                }
                assert_eq!(y.rows().count(), 3);
            })
            .unwrap();
        let shape = builder
            .task("shape", |x: In<f32>, mut out: Out<u32>| {
                out[..x.shape().len()].copy_from_slice(x.shape());
                out[5] = x.len() as u32;
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<f32>(14).unwrap();
        data.copy_from_slice(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0]).unwrap();
        let (x, y) = (data.part(1..7).shaped(&[2, 3]), data.part(8..=13).shaped(&[3, 2]));
        exec.run(|s| s.spawn(transpose, (x, y))).unwrap();
        assert_eq!(data.to_vec().unwrap()[8..], [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(data.to_vec().unwrap()[..8], [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0]);
        // A part of a part; of a shape; all ways to say a range; one element without dimensions.
        let out = exec.buffer::<u32>(6).unwrap();
        let shapes = [
            (data.part(..), vec![14], 14),
            (data.part(2..10).part(1..=2), vec![2], 2),
            (y.part(..4), vec![4], 4),
            (x, vec![2, 3], 6),
            (data.part(3..4).shaped(&[]), vec![], 1),
            (data.part(..8).shaped(&[2, 1, 2, 1, 2]), vec![2, 1, 2, 1, 2], 8),
        ];
        for (view, expected, len) in shapes {
            out.copy_from_slice(&[0; 6]).unwrap();
            assert_eq!((view.len(), view.is_empty()), (len, false));
            exec.run(|s| s.spawn(shape, (view, &out))).unwrap();
            assert_eq!(out.to_vec().unwrap()[..expected.len()], expected);
            assert_eq!(out.get(5).unwrap(), len as u32);
        }
    }
}

pub(crate) fn empty_slices() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let count = builder
            .task("count", |x: In<u64>, y: Out<u64>, z: InOut<u64>, mut out: Out<u64>| {
                assert_eq!((x.rows().count(), y.rows().count()), (0, 0));
                out[0] = 1 + (x.len() + y.len() + z.len()) as u64;
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let (empty, data) = (exec.buffer(0).unwrap(), exec.buffer(4).unwrap());
        exec.run(|s| {
            let array = s.array::<u64>(&[0, 5])?;
            assert!(array.is_empty());
            s.spawn(count, (&empty, &empty, array, data.part(..1)))?;
            s.spawn(count, (data.part(4..), data.part(2..2), data.part(..0), data.part(1..)))
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap(), [1, 1, 0, 0]);
    }
}

pub(crate) fn arrays_of_a_scope() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let fill = builder.task("fill", |mut x: Out<u64>, value: u64| x.fill(value)).unwrap();
        let sum = builder
            .task("sum", |x: In<u64>, mut out: InOut<u64>| out[0] += x.iter().sum::<u64>())
            .unwrap();
        let exec = builder.build().unwrap();
        let total = exec.buffer(1).unwrap();
        exec.run(|s| {
            let outer = s.array(&[10, 10])?;
            s.spawn(fill, (outer, 1))?;
            // Far more than the heap ring holds: each scope gives back what was made in it.
            for round in 0..100 {
                s.scope(|s| {
                    let inner = s.array(&[1000])?;
                    s.spawn(fill, (inner, round))?;
                    s.spawn(sum, (inner.part(..500), &total))?;
                    s.spawn(sum, (inner.part(500..).shaped(&[50, 10]), &total))?;
                    s.spawn(sum, (outer.part(99..), &total))
                })?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(total.get(0).unwrap(), 4950 * 1000 + 100);
    }
}

pub(crate) fn groups_share_what_they_read() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let member = builder
            .task("member", |context: &TaskContext, x: In<u64>, mut y: Out<u64>, factor: u64| {
                let group = context.group().ok_or("no group")?;
                group.fetch_add(0, y.len() as u64);
                group.barrier()?;
                y.iter_mut().zip(x.iter()).for_each(|(y, x)| *y = x * factor);
                y[0] = group.load(0) + group.index() as u64;
                Ok::<(), BoxError>(())
            })
            .unwrap();
        let exec = builder.build().unwrap();
        let (x, y) = (exec.buffer(4).unwrap(), exec.buffer(12).unwrap());
        x.copy_from_slice(&[1, 2, 3, 4]).unwrap();
        exec.run(|s| {
            s.spawn_group(member, (0..3).map(|i| (&x, y.part(4 * i..4 * i + 4), 10 + i as u64)))
        })
        .unwrap();
        assert_eq!(y.to_vec().unwrap(), [12, 20, 30, 40, 13, 22, 33, 44, 14, 24, 36, 48]);
        // In place: a member may read and write its own bytes.
        let options = TaskOptions::new().name("pair");
        let failure = failed_as(
            exec.run(|s| {
                s.spawn_group_with(member, [(&x, y.part(..0), 1), (&x, y.part(..4), 1)], &options)
            }),
            FailureKind::Panic,
        );
        assert_eq!((failure.name.as_str(), failure.member), ("pair", Some(0)));
    }
}

pub(crate) fn options_and_after() {
    for mode in BOTH {
        let mut builder = small(mode, 2).sub_workers(1);
        let push = builder
            .task("push", |mut log: InOut<u64>, value: u64| log[0] = log[0] * 10 + value)
            .unwrap();
        let wait =
            builder.task("wait", |gate: In<u64>, mut out: Out<u64>| out[0] = gate[0] + 1).unwrap();
        let exec = builder.build().unwrap();
        let (log, gate, out) =
            (exec.buffer(1).unwrap(), exec.buffer(1).unwrap(), exec.buffer(1).unwrap());
        exec.run(|s| {
            let first = s.spawn_with(push, (&log, 1), &TaskOptions::sub())?;
            // Other bytes, so that `after` alone orders them.
            let second = s.spawn_with(wait, (&gate, &out), &TaskOptions::new().after(&first))?;
            s.spawn_with(push, (&log, 2), &TaskOptions::new().after(&second).snapshot().retries(1))
        })
        .unwrap();
        assert_eq!((log.get(0).unwrap(), out.get(0).unwrap()), (12, 1));
    }
}

/// Typed and untyped tasks of one executor are ordered by the same bytes.
pub(crate) fn beside_untyped_tasks() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let triple =
            builder.task("triple", |mut x: InOut<u64>| x.iter_mut().for_each(|x| *x *= 3)).unwrap();
        let add = builder.register("add", bodies::add_one).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(1).unwrap();
        exec.run(|s| {
            for _ in 0..20 {
                s.submit(add, args().inout(&data), config())?;
                s.spawn(triple, (&data,))?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data.get(0).unwrap(), (0..20).fold(0, |x, _| (x + 1) * 3));
        cell(&data, 0).store(0, SeqCst);
    }
}

pub(crate) fn through_a_level() {
    for mode in BOTH {
        let mut below = small(mode, 2);
        let fill = below.task("fill", |mut x: Out<u64>, value: u64| x.fill(value)).unwrap();
        let add = below
            .task("add", |x: In<u64>, mut y: InOut<u64>| {
                y.iter_mut().zip(x.iter()).for_each(|(y, x)| *y += x);
            })
            .unwrap();
        let mut level = Level::new(below);
        let both = level
            .register("both", move |s, args, _, _| {
                let own = s.array(&[4])?;
                s.spawn(fill, (own, args.scalar(0)?))?;
                // SAFETY: the task above names the tensor as INOUT, and is this function.
                let above = unsafe { View::of(*args.tensor(0)?) };
                s.spawn(add, (own, above))?;
                s.spawn(add, (own, above)).map(drop)
            })
            .unwrap();
        let exec = Executor::builder()
            .mode(mode)
            .heap_bytes(1 << 20)
            .buffer_bytes(1 << 20)
            .next_level(1, level)
            .build()
            .unwrap();
        let data = exec.buffer::<u64>(4).unwrap();
        exec.run(|s| s.submit(both, args().inout(&data).scalar(21), config())).unwrap();
        assert_eq!(data.to_vec().unwrap(), [42; 4]);
    }
}

/// A file that nobody else has is as good as a buffer.
pub(crate) fn own_memory_of_a_file() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let fill = builder.task("fill", |mut x: Out<u64>, value: u64| x.fill(value)).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.memfd_buffer::<u64>(1000).unwrap();
        exec.run(|s| {
            s.spawn(fill, (&data, 3))?;
            s.spawn(fill, (data.part(500..), 4))
        })
        .unwrap();
        assert_eq!(
            (data.get(499).unwrap(), data.get(500).unwrap(), data.get(999).unwrap()),
            (3, 4, 4)
        );
    }
}
