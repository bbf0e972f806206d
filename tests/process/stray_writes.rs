//! Bodies that write over the words by which tasks are handed on. What they do to the bytes of others
//! cannot be noticed; but nothing may wait for ever.

use std::os::fd::AsRawFd;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mailring::{Error, Executor, Mode, TaskContext, TaskOptions, WaitStrategy, WorkerId};
use testkit::{Done, Random, args, at, bodies, cell, config, eventually, small};

/// The shared part of the arena called `name`, as words.
fn words(name: &str) -> &'static [AtomicU64] {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let line = maps.lines().find(|line| line.contains(name) && line.contains(" rw-s "));
    let range = line.and_then(|line| line.split(' ').next()).unwrap_or("0-0");
    let (from, to) = range.split_once('-').unwrap_or(("0", "0"));
    let parse = |text| usize::from_str_radix(text, 16).unwrap_or(0);
    let (from, to) = (parse(from), parse(to));
    let first = std::ptr::with_exposed_provenance(from);
    // SAFETY: mapped, for as long as the worker lives, and aligned to a page.
    if to > from { unsafe { std::slice::from_raw_parts(first, (to - from) / 8) } } else { &[] }
}

/// Longest time that a run with a scribbler in it may take.
const BOUND: Duration = Duration::from_secs(20);

// ---- one word at a time -------------------------------------------------------------------------

const WORKERS: usize = 3;
const WINDOW: usize = 64;

/// Phases, and the owner of a group that runs, as they stand in a state word.
const PENDING: u64 = 3;
const RUNNING: u64 = 5;
const DONE_OK: u64 = 8;
const GROUP: u64 = 1023;

fn state(phase: u64, owner: u64, generation: u64) -> u64 {
    phase | owner << 15 | generation << 44
}

/// The words, as a body finds them: by its own lease.
struct Map {
    words: &'static [AtomicU64],
    slots: usize,
    me: usize,
    task: usize,
}

impl Map {
    /// Of a task of the first lap.
    fn new(name: &str, context: &TaskContext<'_>) -> Self {
        let words = words(name);
        let (me, task) = (usize::from(context.worker().0), context.task().0 as usize);
        let owner = if context.group().is_some() { GROUP } else { me as u64 };
        let varies = 0x7_ffff << 25 | 3 << 4; // head and marks
        let own = (0..words.len()).step_by(8).find(|&index| {
            words[index].load(SeqCst) & !varies == state(RUNNING, owner, 1) && index >= 8 * task
        });
        Self { words, slots: own.unwrap() - 8 * task, me, task }
    }

    fn state(&self, task: usize) -> &AtomicU64 {
        &self.words[self.slots + 8 * task]
    }

    fn fan_in(&self, task: usize) -> &AtomicU64 {
        &self.words[self.slots + 8 * task + 1]
    }

    /// The second word of a worker's entry: its process, and whether it is inside of a body.
    fn inside(&self, worker: usize) -> &AtomicU64 {
        let own = u64::from(std::process::id()) | 1 << 32;
        let found = self.words[..self.slots].iter().position(|word| word.load(SeqCst) == own);
        &self.words[found.unwrap() + 48 * worker - 48 * self.me]
    }

    fn hint_head(&self, ring: usize) -> &AtomicU64 {
        &self.words[self.slots + 8 * WINDOW + ring * (32 + WINDOW)]
    }

    /// The summary of the first set.
    fn urgent(&self) -> &AtomicU64 {
        self.hint_head(2 * (WORKERS + 1))
    }

    /// The word of the member of group `task` that this worker is; the next one is its barrier.
    fn member(&self, task: usize, worker: usize) -> Option<usize> {
        let joined = 1 | (worker as u64) << 4 | (task as u64) << 40;
        self.words.iter().position(|word| word.load(SeqCst) == joined)
    }
}

/// What is written over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    FanIn,
    FanInAndBusyWorkers,
    FanInAndSet,
    NextIsLeased,
    NextIsUnwalked,
    OwnLease,
    HintHeads,
    FormingMember,
    Barriers,
    MemberInside,
}

impl Target {
    const ALL: [Self; 10] = [
        Self::FanIn,
        Self::FanInAndBusyWorkers,
        Self::FanInAndSet,
        Self::NextIsLeased,
        Self::NextIsUnwalked,
        Self::OwnLease,
        Self::HintHeads,
        Self::FormingMember,
        Self::Barriers,
        Self::MemberInside,
    ];

    fn needs_the_next(self) -> bool {
        let names = [Self::FanIn, Self::FanInAndBusyWorkers, Self::FanInAndSet];
        names.contains(&self) || matches!(self, Self::NextIsLeased | Self::NextIsUnwalked)
    }

    /// In the body of a task whose successor is the next one; or, for the last two, in member 0 of
    /// a group that has other members.
    fn write(self, name: &str, context: &TaskContext<'_>) {
        let map = Map::new(name, context);
        let (next, others) = (map.task + 1, (0..WORKERS).filter(|&worker| worker != map.me));
        if self.needs_the_next() {
            let pending = || map.state(next).load(SeqCst) & 15 == PENDING;
            eventually("the next one waits", pending);
            std::thread::sleep(Duration::from_millis(5)); // until it is wired as well
        }
        match self {
            Self::FanIn => _ = map.fan_in(next).fetch_or(1 << 40, SeqCst),
            Self::FanInAndBusyWorkers => {
                map.fan_in(next).fetch_or(1 << 40, SeqCst);
                others.for_each(|worker| _ = map.inside(worker).fetch_or(1 << 32, SeqCst));
            }
            Self::FanInAndSet => {
                map.fan_in(next).fetch_or(1 << 40, SeqCst);
                map.urgent().fetch_or(1 << 63, SeqCst);
            }
            Self::NextIsLeased => {
                map.state(next).store(state(RUNNING, ((map.me + 1) % WORKERS) as u64, 1), SeqCst);
            }
            Self::NextIsUnwalked => {
                map.state(next).store(state(DONE_OK, ((map.me + 1) % WORKERS) as u64, 1), SeqCst);
            }
            Self::OwnLease => {
                map.state(map.task)
                    .store(state(RUNNING, ((map.me + 1) % WORKERS) as u64, 1), SeqCst);
            }
            Self::HintHeads => {
                (0..2 * (WORKERS + 1)).for_each(|ring| map.hint_head(ring).store(u64::MAX, SeqCst));
            }
            Self::FormingMember => {
                let other = (map.me + 1) % WORKERS;
                eventually("the group forms", || map.member(next, other).is_some());
                map.words[map.member(next, other).unwrap()].store(u64::MAX, SeqCst);
            }
            Self::Barriers | Self::MemberInside => others.for_each(|worker| {
                let member = map.member(map.task, worker).unwrap();
                let epoch = &map.words[member + 1];
                eventually("it is at the barrier", || epoch.load(SeqCst) == 1);
                let inside = self == Self::MemberInside;
                if inside { &map.words[member] } else { epoch }.store(0, SeqCst);
            }),
        }
    }
}

/// A run of a task (or group) that writes there, and one that comes after it.
fn ruin(target: Target, wait: WaitStrategy) -> (Executor, Result<(), Error>) {
    let name = format!("ruin-{target:?}-{wait:?}");
    let mut builder =
        small(Mode::Process, WORKERS).slot_window(WINDOW).name(&name).wait_strategy(wait);
    let ruin = builder
        .register("ruin", move |args, _, context| {
            if context.group().is_none() {
                args.set::<u64>(0, 0, 1)?;
            }
            if context.group().is_none_or(|group| group.index() == 0) {
                target.write(&name, context);
            }
            if let Some(group) = context.group() {
                let _ = group.barrier();
            }
            Done::Ok(())
        })
        .unwrap();
    let add = builder
        .register("add", |args, _, _| args.set::<u64>(0, 0, args.get::<u64>(0, 0)?.wrapping_add(1)))
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    let ran = exec.run(|orch| {
        let first = || args().inout(at(&data, 0));
        for nth in 1..6 {
            orch.submit(add, args().inout(at(&data, nth)), config())?;
        }
        let ruined = match target {
            Target::Barriers | Target::MemberInside => {
                let others = (1..WORKERS).map(|_| args().no_dep(data.tensor()));
                orch.submit_group(ruin, std::iter::once(first()).chain(others).collect(), config())?
            }
            _ => orch.submit(ruin, first(), config())?,
        };
        match target {
            Target::FormingMember => {
                eventually("its body runs", || cell(&data, 0).load(SeqCst) == 1);
                let members = (0..WORKERS).map(|_| args().no_dep(data.tensor()));
                orch.submit_group(add, members.collect(), config())?;
            }
            Target::HintHeads => {
                orch.wait(&ruined)?;
                for nth in 0..8 {
                    orch.submit(add, args().inout(at(&data, nth)), config())?;
                }
            }
            _ => _ = orch.submit(add, first(), config())?,
        }
        Ok(())
    });
    (exec, ran)
}

/// How each of these ends, all at the same time since most of it is waiting.
pub(crate) fn each_word_has_an_end() {
    std::thread::scope(|scope| {
        for target in Target::ALL {
            for wait in [WaitStrategy::Adaptive, WaitStrategy::Spin] {
                // One who never sleeps takes a processor: only where it makes a difference.
                let spins = matches!(target, Target::FanIn | Target::HintHeads);
                if wait == WaitStrategy::Spin && !spins {
                    continue;
                }
                scope.spawn(move || {
                    let began = Instant::now();
                    let (exec, ran) = ruin(target, wait);
                    drop(exec);
                    let took = began.elapsed();
                    println!("{target:?}, {wait:?}: {took:?}, {ran:?}");
                    assert!(took < BOUND, "{target:?} took {took:?}");
                    let expected = match target {
                        Target::HintHeads | Target::Barriers => None,
                        Target::OwnLease | Target::MemberInside => Some("was taken from it"),
                        _ => Some("nobody is at work on it"),
                    };
                    match (ran, expected) {
                        (Ok(()), None) => {}
                        (Err(Error::Failed(why)), Some(text)) if why.contains(text) => {}
                        (ran, _) => panic!("{target:?}, {wait:?}: {ran:?}"),
                    }
                });
            }
        }
    });
}

/// One who polls for a run is told as well.
pub(crate) fn a_run_that_is_polled_for_has_an_end() {
    let name = "ruin-polled";
    let mut builder = small(Mode::Process, WORKERS).slot_window(WINDOW).name(name);
    let ruin = builder
        .register("ruin", move |_, _, context| {
            Target::FanIn.write(name, context);
            Done::Ok(())
        })
        .unwrap();
    let add = builder.register("add", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(1).unwrap();
    let submitted = exec.submit_run(|orch| {
        orch.submit(ruin, args().inout(at(&data, 0)), config())?;
        orch.submit(add, args().inout(at(&data, 0)), config())
    });
    let (_, run) = submitted.unwrap();
    let event = run.event().unwrap();
    let mut polled = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live entry.
    assert_eq!(unsafe { libc::poll(&raw mut polled, 1, BOUND.as_millis() as i32) }, 1);
    let waited = run.wait(Some(BOUND));
    assert!(matches!(&waited, Err(Error::Failed(_))), "{waited:?}");
}

// ---- here and there -----------------------------------------------------------------------------

/// Longer than any body takes here.
const DEADLINE: Duration = Duration::from_millis(500);

/// One executor, one run with a scribbler in it: how it ended, and how long that took.
fn run(seed: u64, reach: usize, count: u64) -> (bool, Duration) {
    let name = format!("scribbled-{seed}-");
    // One who never sleeps takes a processor, so few of them do.
    let wait = match seed % 16 {
        0 => WaitStrategy::Spin,
        1..8 => WaitStrategy::Park,
        _ => WaitStrategy::Adaptive,
    };
    let mut builder = small(Mode::Process, 3).slot_window(64).name(&name).wait_strategy(wait);
    let add = builder
        .register("add", |args, _, context| {
            if let Some(group) = context.group() {
                let _ = group.barrier();
            }
            std::thread::sleep(Duration::from_micros(200));
            args.set::<u64>(0, 0, args.get::<u64>(0, 0)?.wrapping_add(1))
        })
        .unwrap();
    let scribble = builder
        .register("scribble", move |args, _, _| {
            let mut random = Random(args.scalar(0)?);
            let words = words(&name);
            let reach = reach.min(words.len());
            for _ in 0..if reach == 0 { 0 } else { count } {
                let there = &words[random.below(reach)];
                let value = match random.next() % 5 {
                    0 => 0,
                    1 => u64::MAX,
                    2 => random.next(),
                    3 => there.load(SeqCst) ^ 1 << random.below(64), // nearly what it was
                    _ => words[random.below(reach)].load(SeqCst), // a word that was one somewhere
                };
                there.store(value, SeqCst);
            }
            Done::Ok(())
        })
        .unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(8).unwrap();
    let began = Instant::now();
    let mut random = Random(seed);
    let ran = exec.run(|orch| {
        for nth in 0..200u64 {
            let all = || args().inout(at(&data, (nth % 8) as usize));
            let options = TaskOptions::new();
            match random.next() % 16 {
                0 => orch.submit(scribble, args().scalar(random.next()), config())?,
                1 => orch.submit_group(add, vec![all(), args().no_dep(data.tensor())], config())?,
                2 => orch.submit_with(add, all(), config(), &options.on(WorkerId(1)))?,
                3 => orch.submit_with(add, all(), config(), &options.idempotent().retries(2))?,
                4 => orch.submit_with(add, all(), config(), &options.deadline(DEADLINE))?,
                _ => orch.submit(add, all(), config())?,
            };
        }
        Ok(())
    });
    let text = ran.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
    drop(exec);
    let took = began.elapsed();
    println!("seed {seed}, {count} words: {took:?}, {text}");
    (ran.is_ok(), took)
}

pub(crate) fn lost_queue_entries_are_found() {
    let (_, took) = run(7, 1 << 16, 3);
    assert!(took < BOUND, "took {took:?}");
}

/// As many runs as there is time for, several at the same time. `MAILRING_SEED` is the first one.
pub(crate) fn soak_here_and_there() {
    const AT_ONCE: usize = 8;
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("MAILRING_SEED").unwrap_or(0);
    let last = first + number("MAILRING_ROUNDS").unwrap_or(400);
    let (next, well, all) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(50);
    let open = Mutex::new([None; AT_ONCE]);
    let watch = || loop {
        let open = *open.lock().unwrap();
        for (seed, began) in open.iter().flatten() {
            let took: Duration = Instant::elapsed(began);
            if took > BOUND {
                eprintln!("seed {seed} has not ended after {took:?}");
                if let Some(hold) = std::env::var_os("MAILRING_HOLD") {
                    let seconds = hold.to_str().and_then(|text| text.parse().ok());
                    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(60))); // for a debugger
                }
                std::process::exit(1); // its thread never would
            }
        }
        let over = Instant::now() > until || next.load(SeqCst) > last;
        if over && open.iter().all(Option::is_none) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    std::thread::scope(|scope| {
        for place in 0..AT_ONCE {
            let (open, next, well, all) = (&open, &next, &well, &all);
            scope.spawn(move || {
                while Instant::now() < until {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= last {
                        break;
                    }
                    open.lock().unwrap()[place] = Some((seed, Instant::now()));
                    let one = || run(seed, 1 << (9 + seed % 7), 1 + seed % 5);
                    let Ok((ok, _)) = catch_unwind(one) else {
                        eprintln!("seed {seed} panicked");
                        std::process::exit(1);
                    };
                    open.lock().unwrap()[place] = None;
                    well.fetch_add(u64::from(ok), SeqCst);
                    all.fetch_add(1, SeqCst);
                }
            });
        }
        watch();
    });
    println!("{well:?} of {all:?} runs ended well");
}
