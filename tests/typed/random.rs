//! Random programs over typed tasks agree with a sequential run of the same program.

use std::ops::Range;

use mailring::prelude::*;
use testkit::{BOTH, Random, small};

const ELEMENTS: usize = 24;
const BUFFERS: usize = 3;
const ARRAYS: usize = 2;

/// A part of one of the buffers or arrays.
type Part = (usize, Range<usize>);

/// What a task does; the same arithmetic in the body and in the model.
#[derive(Clone, Debug)]
enum Step {
    Fill(Part, u64),
    Mix(Part, Part, Part),
    Scale(Part, u64),
    /// Members with bytes of their own, all of which read the same.
    Group(Part, Vec<Part>),
}

fn fill(out: &mut [u64], start: u64) {
    out.iter_mut().zip(start..).for_each(|(x, value)| *x = value);
}

fn mix(x: &[u64], y: &[u64], out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        let pick = |from: &[u64]| from.get(i % from.len().max(1)).copied().unwrap_or(7);
        *out = pick(x).wrapping_mul(31).wrapping_add(pick(y)) ^ i as u64;
    }
}

fn scale(x: &mut [u64], factor: u64) {
    x.iter_mut().for_each(|x| *x = x.wrapping_mul(factor).rotate_left(3));
}

fn part(random: &mut Random) -> Part {
    let (a, b) = (random.below(ELEMENTS + 1), random.below(ELEMENTS + 1));
    (random.below(BUFFERS + ARRAYS), a.min(b)..a.max(b))
}

fn overlap(a: &Part, b: &Part) -> bool {
    a.0 == b.0 && a.1.start.max(b.1.start) < a.1.end.min(b.1.end)
}

fn step(random: &mut Random) -> Step {
    match random.below(10) {
        0..2 => Step::Fill(part(random), random.next()),
        2..4 => Step::Scale(part(random), random.next()),
        4..9 => Step::Mix(part(random), part(random), part(random)),
        _ => Step::Group(part(random), vec![part(random), part(random)]),
    }
}

/// Whether `spawn` has to take the step.
fn is_sound(step: &Step) -> bool {
    match step {
        Step::Fill(..) | Step::Scale(..) => true,
        Step::Mix(x, y, out) => !overlap(x, out) && !overlap(y, out),
        Step::Group(x, outs) => {
            outs.iter().all(|out| !overlap(x, out)) && !overlap(&outs[0], &outs[1])
        }
    }
}

/// The step in the model, a vector for each piece of memory.
fn apply(step: &Step, memory: &mut [Vec<u64>]) {
    let read = |memory: &[Vec<u64>], part: &Part| memory[part.0][part.1.clone()].to_vec();
    match step {
        Step::Fill(out, start) => fill(&mut memory[out.0][out.1.clone()], *start),
        Step::Scale(x, factor) => scale(&mut memory[x.0][x.1.clone()], *factor),
        Step::Mix(x, y, out) => {
            let (x, y) = (read(memory, x), read(memory, y));
            mix(&x, &y, &mut memory[out.0][out.1.clone()]);
        }
        Step::Group(x, outs) => {
            let x = read(memory, x);
            outs.iter().for_each(|out| mix(&x, &x, &mut memory[out.0][out.1.clone()]));
        }
    }
}

pub(crate) fn programs_agree_with_a_sequential_run() {
    for mode in BOTH {
        let mut builder = small(mode, 3).slot_window(64);
        let fill = builder.task("fill", |mut out: Out<u64>, s: u64| fill(&mut out, s)).unwrap();
        let scale = builder.task("scale", |mut x: InOut<u64>, f: u64| scale(&mut x, f)).unwrap();
        let mix = builder
            .task("mix", |x: In<u64>, y: In<u64>, mut out: Out<u64>| mix(&x, &y, &mut out))
            .unwrap();
        let exec = builder.build().unwrap();
        let buffers: Vec<Buffer<u64>> =
            (0..BUFFERS).map(|_| exec.buffer(ELEMENTS).unwrap()).collect();
        let result: Vec<Buffer<u64>> =
            (0..ARRAYS).map(|_| exec.buffer(ELEMENTS).unwrap()).collect();
        let (mut taken, mut refused) = (0, 0);
        for seed in 0..150 {
            let mut random = Random(seed);
            let mut memory: Vec<Vec<u64>> =
                buffers.iter().map(|buffer| buffer.to_vec().unwrap()).collect();
            memory.resize(BUFFERS + ARRAYS, vec![0; ELEMENTS]);
            exec.run(|s| {
                let arrays: Vec<View<'_, u64>> =
                    (0..ARRAYS).map(|_| s.array(&[ELEMENTS as u32])).collect::<Result<_, _>>()?;
                for (at, &array) in arrays.iter().enumerate() {
                    s.spawn(fill, (array, 0))?;
                    memory[BUFFERS + at] = (0..ELEMENTS as u64).collect();
                }
                let view = |(at, range): &Part| match at.checked_sub(BUFFERS) {
                    None => buffers[*at].part(range.clone()),
                    Some(at) => arrays[at].part(range.clone()),
                };
                for _ in 0..40 {
                    let step = step(&mut random);
                    let spawned = match &step {
                        Step::Fill(out, start) => s.spawn(fill, (view(out), *start)),
                        Step::Scale(x, factor) => s.spawn(scale, (view(x), *factor)),
                        Step::Mix(x, y, out) => s.spawn(mix, (view(x), view(y), view(out))),
                        Step::Group(x, outs) => {
                            let member = |out: &Part| (view(x), view(x), view(out));
                            s.spawn_group(mix, outs.iter().map(member))
                        }
                    };
                    match spawned {
                        Ok(_) => {
                            assert!(is_sound(&step), "seed {seed}: taken: {step:?}");
                            apply(&step, &mut memory);
                            taken += 1;
                        }
                        Err(error) => {
                            assert!(!is_sound(&step), "seed {seed}: {step:?}: {error}");
                            refused += 1;
                        }
                    }
                }
                for (&array, result) in arrays.iter().zip(&result) {
                    s.spawn(mix, (array, array, result))?;
                }
                Ok(())
            })
            .unwrap();
            for (at, buffer) in buffers.iter().enumerate() {
                assert_eq!(buffer.to_vec().unwrap(), memory[at], "seed {seed}, buffer {at}");
            }
            for (at, result) in result.iter().enumerate() {
                let mut expected = vec![0; ELEMENTS];
                self::mix(&memory[BUFFERS + at], &memory[BUFFERS + at], &mut expected);
                assert_eq!(result.to_vec().unwrap(), expected, "seed {seed}, array {at}");
            }
        }
        assert!(taken > 3000 && refused > 500, "{taken} taken, {refused} refused");
    }
}
