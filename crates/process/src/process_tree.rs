//! All descendants of a process, and how they are ended.
//!
//! /proc is not a snapshot: while it is read, processes fork, end, and leave their children to
//! others. So a look says whether it was torn, and nobody is left only when two looks in a row
//! agree.

use std::collections::{BTreeMap, HashMap, HashSet, btree_map::Entry};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use super::process;

/// Longest time between two looks.
const ROUND: Duration = Duration::from_millis(20);
/// Longest wait for killed processes when nothing changes.
const STUCK: Duration = Duration::from_secs(5);

/// A process as it was seen: number and start time, so that a number used again is not mistaken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Member {
    /// Its number.
    pub pid: i32,
    /// When it began, in ticks since the boot.
    pub start: u64,
}

impl Member {
    /// What it is called.
    pub fn name(self) -> String {
        alive(self).map_or_else(String::new, |stat| stat.name)
    }

    /// The process of this number, if it lives.
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| stat.member)
    }
}

/// Collects children of this process that have ended.
pub fn reap_ended() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some())
    {
    }
}

/// The same, but for these, whose end somebody else waits for.
pub fn reap_others(but: &[Member]) {
    for pid in process::children() {
        if !but.iter().any(|member| member.pid == pid) {
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// What became of one descendant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub pid: i32,
    /// What it was called.
    pub name: String,
    /// SIGKILL was needed.
    pub killed: bool,
}

/// Whether this process has any child at all, zombies included.
pub fn has_children() -> bool {
    // All: also those that were cloned with another signal than SIGCHLD.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags | WaitPidFlag::__WALL) != Err(Errno::ECHILD)
}

/// Every living descendant of `root` (itself not one), of every thread of every process.
pub fn descendants(root: i32) -> Vec<Member> {
    let Some(root) = stat(root) else { return Vec::new() };
    let mut found = Look { torn: true, ..Look::default() };
    for _ in 0..10 {
        if found.torn {
            found = look(root.member, &found.living, &mut Set::new(), |_| {});
        }
    }
    found.living.into_keys().collect()
}

/// Ends all descendants of `root` but those in `spare`, what is below them, and this process.
/// TERM to each when first seen, KILL after `grace` or when `give_up`, asked every round, says so.
/// Returns when none is left, or the killed are stuck in the kernel, or `limit` after the first
/// KILL: somebody starts new ones all the time, and has to be ended first. Zombies are left as they are.
pub fn end_descendants(
    root: i32,
    spare: &[Member],
    grace: Duration,
    limit: Duration,
    give_up: &dyn Fn() -> bool,
) -> Vec<Ended> {
    let Some(root) = stat(root) else { return Vec::new() };
    let own = stat(std::process::id() as i32).map(|own| own.member);
    let mut spare = spare.iter().copied().chain(own).collect();
    let (begun, mut changed, mut killing) = (Instant::now(), Instant::now(), false);
    let mut killing_since: Option<Instant> = None;
    // Whom a signal has come to; who lived at the last look; who was dead then, if none lived.
    let mut told = BTreeMap::<Member, Ended>::new();
    let (mut known, mut empty) = (Living::new(), None::<Set>);
    loop {
        killing |= begun.elapsed() >= grace || give_up();
        if killing {
            killing_since.get_or_insert_with(Instant::now);
        }
        let mut runs = false;
        let seen = |&Stat { member, ref name, state, .. }: &Stat| {
            let killed = told.get(&member).is_some_and(|one| one.killed);
            // One that runs in the kernel (it frees its memory, say) comes to its end.
            runs |= killed && state == b'R';
            let signals: &[Signal] = match killing {
                true if !killed => &[Signal::SIGKILL],
                // Stopped, it does not notice the first.
                false if !known.contains_key(&member) => &[Signal::SIGTERM, Signal::SIGCONT],
                _ => return,
            };
            if send(member, open(member), signals) {
                let (pid, name) = (member.pid, name.clone());
                changed = Instant::now();
                told.insert(member, Ended { pid, name, killed: killing });
            }
        };
        let Look { living, dead, torn } = look(root.member, &known, &mut spare, seen);
        let new = living.keys().any(|member| !known.contains_key(member));
        changed = if living.len() < known.len() { Instant::now() } else { changed };
        // Who was dead before this look has left no child to anybody while it lasted.
        let nobody = living.is_empty() && !torn;
        let sure = nobody && empty.is_some_and(|before| dead.is_subset(&before));
        let over = killing_since.is_some_and(|since: Instant| since.elapsed() >= limit);
        if sure || over || (killing && !runs && changed.elapsed() > STUCK) {
            return told.into_values().collect();
        }
        let left = if killing { ROUND } else { grace.saturating_sub(begun.elapsed()).min(ROUND) };
        // A shell that outlives TERM starts its next command when one has ended: no race with it.
        match living.is_empty() {
            false if new && !killing && !known.is_empty() => std::thread::sleep(left / 2),
            false => wait(&living, left),
            true => {}
        }
        (known, empty) = (living, nobody.then_some(dead));
    }
}

/// None too where there are no such descriptors.
fn open(member: Member) -> Option<OwnedFd> {
    process::pidfd_open(Pid::from_raw(member.pid)).ok()
}

/// Sends signals to exactly that process. False when it has ended, or is not ours to signal.
fn send(member: Member, pidfd: Option<OwnedFd>, signals: &[Signal]) -> bool {
    // The descriptor came first: if the number is still the member's, so is the descriptor.
    alive(member).is_some()
        && signals.iter().all(|&signal| {
            pidfd.as_ref().is_some_and(|pidfd| process::pidfd_kill(pidfd, signal as i32))
                || matches!(kill(Pid::from_raw(member.pid), signal), Ok(()) | Err(Errno::ESRCH))
        })
}

/// Until one of them ends, but not for long. Few descriptors are held: the host needs its own.
fn wait(living: &Living, pause: Duration) {
    let held: Vec<_> = living.keys().take(64).filter_map(|&member| open(member)).collect();
    let poll_fd = |fd| PollFd::new(AsFd::as_fd(fd), PollFlags::POLLIN);
    let mut fds: Vec<_> = held.iter().map(poll_fd).collect();
    let _ = poll(&mut fds, PollTimeout::from(pause.as_micros().div_ceil(1000) as u8));
}

type Set = HashSet<Member>;
type Living = BTreeMap<Member, Stat>;

/// What one walk has seen.
#[derive(Default)]
struct Look {
    living: Living,
    dead: Set,
    /// Something ended meanwhile: its children may have been missed.
    torn: bool,
}

/// Walks from `root`, and from those known before: they may have moved out of its reach. Whoever is
/// seen is told at once. What is below a spared process is spared too, also when it is orphaned.
fn look(root: Member, known: &Living, spare: &mut Set, mut tell: impl FnMut(&Stat)) -> Look {
    let mut table = std::fs::metadata("/proc/thread-self/children").is_err().then(by_parent);
    let mut look = Look::default();
    look.living.extend(known.keys().filter_map(|&member| Some((member, alive(member)?))));
    look.living.values().for_each(&mut tell);
    let starts = look.living.keys().copied().chain(alive(root).map(|root| root.member));
    let mut queue: Vec<(Member, bool)> = starts.map(|start| (start, false)).collect();
    while let Some((parent, spared)) = queue.pop() {
        let (children, mut whole) = match &mut table {
            Some(table) => (table.remove(&parent.pid).unwrap_or_default(), true),
            None => listed(parent.pid),
        };
        // The newest first: they may not live long.
        for pid in children.into_iter().rev() {
            let child = stat(pid).filter(|child| child.parent == parent.pid);
            whole &= child.is_some();
            // Used again, the parent's number would bring in the children of a stranger.
            let Some(child) = child.filter(|c| c.dead || alive(parent).is_some()) else {
                continue;
            };
            let member = child.member;
            if child.dead {
                look.dead.extend((!spared).then_some(member));
            } else if spared || spare.contains(&member) {
                spare.insert(member);
                queue.push((member, true));
            } else if let Entry::Vacant(unseen) = look.living.entry(member) {
                tell(unseen.insert(child));
                queue.push((member, false));
            }
        }
        look.torn |= !(spared || whole && alive(parent).is_some());
    }
    look
}

/// The children of all threads of a process, and whether no thread went away meanwhile.
fn listed(parent: i32) -> (Vec<i32>, bool) {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    let (mut children, mut whole) = (Vec::new(), tasks.is_ok());
    // All threads before any children: those of a thread that ends go to another one.
    for thread in tasks.into_iter().flatten().map_while(Result::ok).collect::<Vec<_>>() {
        let list = std::fs::read_to_string(thread.path().join("children"));
        whole &= list.is_ok();
        children.extend(list.iter().flat_map(|l| l.split_whitespace()).flat_map(str::parse::<i32>));
    }
    (children, whole)
}

/// All processes by their parents, for a kernel without lists of children.
fn by_parent() -> HashMap<i32, Vec<i32>> {
    let mut table = HashMap::<i32, Vec<i32>>::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).for_each(|it| table.entry(it.parent).or_default().push(it.member.pid));
    table
}

/// What /proc/PID/stat tells.
struct Stat {
    member: Member,
    name: String,
    state: u8,
    parent: i32,
    /// With all its threads: of a living process the first thread may be a zombie.
    dead: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn alive(member: Member) -> Option<Stat> {
    stat(member.pid).filter(|now| now.member == member && !now.dead)
}

fn parse(pid: i32, line: &[u8]) -> Option<Stat> {
    let line = String::from_utf8_lossy(line); // a name is any bytes
    let (front, behind) = line.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    // As proc(5) counts them; the first one behind the name is the third.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let (state, parent, start) = (fields.first()?.as_bytes()[0], number(4)? as i32, number(22)?);
    let dead = matches!(state, b'Z' | b'X') && number(20)? <= 1;
    Some(Stat { member: Member { pid, start }, name, state, parent, dead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;
    use std::process::{Command, Stdio};

    const NEVER: &dyn Fn() -> bool = &|| false;
    const LONG: Duration = Duration::from_secs(1000);

    /// Runs the test again as a process of its own: what other tests start is not below it.
    fn apart<F: FnOnce(i32) + std::panic::UnwindSafe>(body: F) {
        let own = std::process::id() as i32;
        if std::env::var_os("FAMILY_APART").is_some() {
            process::adopt_orphans();
            nix::unistd::alarm::set(60);
            let outcome = std::panic::catch_unwind(|| body(own));
            end_descendants(own, &[], Duration::ZERO, STUCK, NEVER);
            while waitpid(None, None).is_ok() {}
            assert!(outcome.is_ok() && !has_children());
            return;
        }
        let path = std::any::type_name::<F>().split_once("::").unwrap().1;
        let test = path.trim_end_matches("::{{closure}}");
        let mut again = Command::new(std::env::current_exe().unwrap());
        let run = again.args([test, "--exact"]).env("FAMILY_APART", "1").output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    fn sh(script: &str) -> i32 {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().unwrap().id() as i32
    }

    /// The family, once it consists of these.
    fn family(root: i32, names: &[&str]) -> Vec<Member> {
        let same = |all: &Vec<Member>| {
            let mut now: Vec<_> = all.iter().map(|&m| alive(m).map(|s| s.name)).collect();
            now.sort();
            now.iter().map(Option::as_deref).eq(names.iter().map(|&name| Some(name)))
        };
        std::iter::repeat_with(|| descendants(root)).find(same).unwrap()
    }

    fn check(ended: &[Ended], killed: bool, members: &[Member]) {
        let ended: Vec<_> = ended.iter().map(|one| (one.pid, one.killed)).collect();
        assert_eq!(ended, members.iter().map(|one| (one.pid, killed)).collect::<Vec<_>>());
    }

    #[test]
    fn term_ends_plain_stopped_and_orphaned_ones_and_those_of_another_thread() {
        apart(|own| {
            let stopped = sh("exec sleep 1000");
            sh("setsid /bin/sh -c 'sleep 1000 & :' &");
            // The thread lives on, and its children are in its own list.
            std::thread::spawn(|| (sh("exec sleep 1000"), std::thread::park()));
            let all = family(own, &["sleep"; 3]);
            kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
            while stat(stopped).unwrap().state != b'T' {}
            check(&end_descendants(own, &[], LONG, STUCK, NEVER), false, &all);
        });
    }

    #[test]
    fn those_that_ignore_term_are_killed_after_the_grace_or_when_it_is_given_up() {
        apart(|own| {
            let (begun, grace) = (Instant::now(), Duration::from_millis(300));
            let late = || begun.elapsed() > 2 * grace;
            for (after, give_up) in [(grace, NEVER), (LONG, &late)] {
                sh("trap '' TERM; while :; do sleep 1000; done");
                let all = family(own, &["sh", "sleep"]);
                check(&end_descendants(own, &[], after, STUCK, give_up), true, &all);
                assert!(begun.elapsed() >= grace);
            }
        });
    }

    #[test]
    fn a_spared_process_keeps_its_children() {
        apart(|own| {
            let spared = stat(sh("sleep 1000; :")).unwrap().member;
            let kept = family(own, &["sh", "sleep"]);
            let other = stat(sh("exec sleep 1000")).unwrap().member;
            family(own, &["sh", "sleep", "sleep"]);
            check(&end_descendants(own, &[spared], LONG, STUCK, NEVER), false, &[other]);
            assert_eq!(descendants(own), kept);
        });
    }

    #[test]
    fn a_zombie_is_dead_and_left_alone() {
        apart(|own| {
            let child = Pid::from_raw(sh("exec sleep 1000"));
            let all = family(own, &["sleep"]);
            assert_eq!(by_parent()[&own], [all[0].pid]); // without lists
            assert!(send(all[0], None, &[Signal::SIGKILL])); // without descriptors
            while !process::has_ended(child) {}
            assert!(!send(all[0], None, &[Signal::SIGKILL]) && descendants(own).is_empty());
            assert_eq!(end_descendants(own, &[], LONG, STUCK, NEVER), []);
            assert!(has_children() && waitpid(child, None).is_ok() && !has_children());
        });
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = format!("12 (a) S (b c) Z {}1 0 99 5", "7 ".repeat(16));
        let found = parse(12, line.as_bytes()).unwrap();
        assert_eq!((found.name.as_str(), found.parent, found.member.start), ("a) S (b c", 7, 99));
        assert!(found.dead && parse(12, b"12 (a b").is_none() && parse(12, b"12 (a) ").is_none());
    }
}
