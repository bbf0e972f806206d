//! Random flows: each is a random graph of calls with values, refs, nested refs, nested calls,
//! errors, large values and options, run on workers and computed here one by one; both must
//! agree, value for value and error for error.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mailring::flow::{Cause, Error, Flow, ObjectRef, Resources, gather, node};
use testkit::{Random, kill, mix};

/// What a call of a flow does.
#[derive(Clone, Debug)]
enum Call {
    Add(Input, Input),
    /// Fails for some values.
    Check(Input),
    /// A value of some bytes, from a seed.
    Spread(Input),
    /// The sum of such a value.
    Sum(usize),
    /// Gets refs by itself.
    Nested(Vec<usize>),
    /// Calls other nodes.
    Deep(Input),
    Gather(Vec<usize>),
}

/// A value, or the value of an earlier call.
#[derive(Clone, Debug)]
enum Input {
    Value(u64),
    Of(usize),
}

#[node]
fn add(a: u64, b: u64) -> u64 {
    mix(a ^ b.rotate_left(17))
}

#[node]
fn check(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(7) { Err(format!("{n} is a multiple of 7")) } else { Ok(n / 7) }
}

#[node]
fn spread(seed: u64) -> Vec<u8> {
    let len = [0, 1, 15, 16, 17, 100, 191, 192, 300, 5000, 70_000][(seed % 11) as usize];
    (0..len).map(|at| (seed as u8).wrapping_add(at as u8)).collect()
}

#[node]
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

#[node]
fn nested(refs: Vec<ObjectRef<u64>>) -> Result<u64, Error> {
    refs.iter().try_fold(1, |all, one| Ok(add(all, one.get()?)))
}

#[node]
fn deep(n: u64) -> Result<u64, Error> {
    let flow = Flow::current()?;
    let left = add::remote(&flow, n, 1u64)?;
    let right = check::remote(&flow, n)?;
    add::remote(&flow, &left, &right)?.get()
}

#[node]
fn fold(all: Vec<u64>) -> u64 {
    all.into_iter().fold(0, add)
}

fn random_flow(random: &mut Random) -> Vec<Call> {
    let calls = 2 + random.below(24);
    let mut flow: Vec<Call> = Vec::new();
    let mut spreads: Vec<usize> = Vec::new();
    for at in 0..calls {
        let numbers: Vec<usize> = (0..at).filter(|at| !spreads.contains(at)).collect();
        let input = |random: &mut Random| {
            if numbers.is_empty() || random.chance(30) {
                Input::Value(random.next())
            } else {
                Input::Of(numbers[random.below(numbers.len())])
            }
        };
        let some = |random: &mut Random| {
            let count = random.below(4.min(numbers.len() + 1));
            (0..count).map(|_| numbers[random.below(numbers.len())]).collect()
        };
        flow.push(match random.below(20) {
            0..8 => Call::Add(input(random), input(random)),
            8..11 => Call::Check(input(random)),
            11..14 => {
                spreads.push(at);
                Call::Spread(input(random))
            }
            14..17 if !spreads.is_empty() => Call::Sum(spreads[random.below(spreads.len())]),
            17 => Call::Nested(some(random)),
            18 => Call::Deep(input(random)),
            _ => Call::Gather(some(random)),
        });
    }
    flow
}

/// A value, or the words of the error at its root.
type Outcome = Result<Value, String>;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

fn sequentially(flow: &[Call]) -> Vec<Outcome> {
    let mut done: Vec<Outcome> = Vec::new();
    for call in flow {
        let number = |input: &Input| match input {
            Input::Value(n) => Ok(*n),
            Input::Of(at) => as_number(&done[*at]),
        };
        let numbers = |all: &[usize]| {
            all.iter().map(|at| as_number(&done[*at])).collect::<Result<Vec<_>, _>>()
        };
        let outcome = match call {
            Call::Add(a, b) => number(a).and_then(|a| Ok(Value::Number(add(a, number(b)?)))),
            Call::Check(n) => number(n).and_then(check).map(Value::Number),
            Call::Spread(seed) => number(seed).map(|seed| Value::Bytes(spread(seed))),
            Call::Sum(at) => done[*at].clone().map(|value| match value {
                Value::Bytes(bytes) => Value::Number(sum(&bytes)),
                Value::Number(_) => unreachable!("only sums of spreads are made"),
            }),
            Call::Nested(all) => {
                numbers(all).map(|all| Value::Number(all.into_iter().fold(1, add)))
            }
            Call::Deep(n) => number(n).and_then(|n| Ok(Value::Number(add(add(n, 1), check(n)?)))),
            Call::Gather(all) => numbers(all).map(|all| Value::Number(fold(all))),
        };
        done.push(outcome);
    }
    done
}

fn as_number(outcome: &Outcome) -> Result<u64, String> {
    match outcome {
        Ok(Value::Number(n)) => Ok(*n),
        Ok(Value::Bytes(_)) => unreachable!("numbers only"),
        Err(why) => Err(why.clone()),
    }
}

enum Ref {
    Number(ObjectRef<u64>),
    Bytes(ObjectRef<Vec<u8>>),
}

fn remotely(
    on: &Flow,
    flow: &[Call],
    random: &mut Random,
    retries: bool,
) -> Result<Vec<Outcome>, Error> {
    let mut refs: Vec<Ref> = Vec::new();
    for call in flow {
        let of = |at: &usize| match &refs[*at] {
            Ref::Number(one) => one.clone(),
            Ref::Bytes(_) => unreachable!("numbers only"),
        };
        // The same by value or by ref; options change where and when, not what.
        let one = |input: &Input| -> Result<ObjectRef<u64>, Error> {
            match input {
                Input::Value(n) => on.put(n),
                Input::Of(at) => Ok(of(at)),
            }
        };
        let plain = !retries && random.chance(70);
        macro_rules! options {
            ($name:ident) => {{
                let options = $name::options().retry_forever();
                match random.below(4) {
                    0 => options.spread(),
                    1 => options.cpus(0.5),
                    2 => options.priority(random.below(3) as i32),
                    _ => options,
                }
            }};
        }
        refs.push(match call {
            Call::Add(Input::Value(a), Input::Of(b)) if plain => {
                Ref::Number(add::remote(on, *a, of(b))?)
            }
            Call::Add(a, b) if plain => Ref::Number(add::remote(on, one(a)?, one(b)?)?),
            Call::Add(a, b) => Ref::Number(options!(add).remote(on, one(a)?, one(b)?)?),
            Call::Check(n) => Ref::Number(options!(check).remote(on, one(n)?)?),
            Call::Spread(Input::Value(seed)) if plain => Ref::Bytes(spread::remote(on, *seed)?),
            Call::Spread(seed) => Ref::Bytes(options!(spread).remote(on, one(seed)?)?),
            Call::Sum(at) => match &refs[*at] {
                Ref::Bytes(bytes) if plain => Ref::Number(sum::remote(on, bytes)?),
                Ref::Bytes(bytes) => Ref::Number(options!(sum).remote(on, bytes)?),
                Ref::Number(_) => unreachable!("only sums of spreads are made"),
            },
            Call::Nested(all) => {
                let all: Vec<_> = all.iter().map(of).collect();
                Ref::Number(options!(nested).remote(on, all)?)
            }
            Call::Deep(n) => Ref::Number(options!(deep).remote(on, one(n)?)?),
            Call::Gather(all) => {
                let all: Vec<_> = all.iter().map(of).collect();
                Ref::Number(options!(fold).remote(on, gather(on, &all)?)?)
            }
        });
    }
    refs.iter()
        .map(|one| match one {
            Ref::Number(one) => outcome(one.get().map(Value::Number)),
            Ref::Bytes(one) => outcome(one.get().map(Value::Bytes)),
        })
        .collect()
}

/// What the root of a failure said. A body that got the error of another hands it on.
fn outcome(got: Result<Value, Error>) -> Result<Outcome, Error> {
    match got {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Task(task)) => match task.cause {
            Cause::App(ref error) => match error.downcast::<Error>() {
                Some(inner) => outcome(Err(inner)),
                None => Ok(Err(error.message.clone())),
            },
            _ => Err(Error::Task(task)),
        },
        Err(error) => Err(error),
    }
}

fn seed() -> u64 {
    let given = std::env::var("MAILRING_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| mix(u64::from(std::process::id())))
}

fn flows(more: usize) -> usize {
    let given = std::env::var("MAILRING_FLOWS").ok().and_then(|count| count.parse().ok());
    given.unwrap_or(more)
}

/// Errors may differ where a call has several: any of those that the sequential run would have
/// met is right. With one input failing each, the words are the same.
fn agree(expected: &Outcome, got: &Outcome) -> bool {
    match (expected, got) {
        (Ok(a), Ok(b)) => a == b,
        (Err(_), Err(why)) => why.ends_with("is a multiple of 7"),
        _ => false,
    }
}

fn compare(on: &Flow, seed: u64, retries: bool) {
    let mut random = Random(seed);
    let flow = random_flow(&mut random);
    let expected = sequentially(&flow);
    let got = remotely(on, &flow, &mut random, retries)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert!(agree(expected, got), "seed {seed}, call {at} of {flow:#?}\n{expected:?}\n{got:?}");
    }
}

fn build() -> Flow {
    let cpus = Resources::cpus(1.0);
    Flow::builder().workers("cpu", 2, cpus).memory(256 << 20).build().expect("a flow")
}

pub(crate) fn random_flows_agree_with_a_sequential_run() {
    random_flows(2_000);
}

pub(crate) fn soak_random_flows() {
    random_flows(20_000);
}

fn random_flows(count: usize) {
    let flow = build();
    let first = seed();
    println!("MAILRING_SEED={first}");
    let begin = Instant::now();
    for n in 0..flows(count) as u64 {
        compare(&flow, first.wrapping_add(n), false);
    }
    println!("{} flows in {:?}", flows(count), begin.elapsed());
    let stats = flow.stats().expect("of the driver");
    assert_eq!((stats.incomplete, stats.objects), (0, 0), "{stats:?}");
    println!("{stats:?}");
}

pub(crate) fn they_do_while_workers_die() {
    let flow = build();
    let first = seed();
    println!("MAILRING_SEED={first}");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(first);
            let mut kills = 0;
            while !over.load(Relaxed) {
                std::thread::sleep(Duration::from_micros(random.next() % 8000));
                let pids: Vec<i32> = flow
                    .workers()
                    .expect("of the driver")
                    .into_iter()
                    .flat_map(|w| w.pids)
                    .collect();
                if !pids.is_empty() {
                    kill(pids[random.below(pids.len())], libc::SIGKILL);
                    kills += 1;
                }
            }
            println!("{kills} kills");
            assert!(kills > 10);
        });
        for n in 0..flows(10_000) as u64 / 20 {
            compare(&flow, first.wrapping_add(n), true);
        }
        over.store(true, Relaxed);
    });
    let stats = flow.stats().expect("of the driver");
    assert_eq!(stats.incomplete, 0, "{stats:?}");
}
