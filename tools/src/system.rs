//! What the command asks of the system: processors, the clock, processes and what they use.

use std::fs;
use std::io;

/// The processors that this thread may run on.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, and no bits are a value of it.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size belong to the same local set.
    let done = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if done != 0 {
        return vec![0];
    }
    // SAFETY: `CPU_ISSET` looks at bits below `CPU_SETSIZE` only.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Keeps the calling thread on these processors. A refusal is not worth an error: the figures
/// are then those of a thread that may wander.
pub(crate) fn pin(cpus: &[usize]) {
    // SAFETY: as in `allowed_cpus`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the bit is inside the set by the filter.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: as in `allowed_cpus`.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

/// Keeps the calling thread on one processor until it is dropped.
pub(crate) struct Pinned {
    before: Vec<usize>,
}

impl Pinned {
    pub(crate) fn to(cpu: usize) -> Self {
        let before = allowed_cpus();
        pin(&[cpu]);
        Self { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        pin(&self.before);
    }
}

/// Keeps the main thread of another process on one processor.
pub(crate) fn pin_process(pid: i32, cpu: usize) {
    // SAFETY: a zeroed set is empty, and the number is below the set's size on any machine that
    // has it among its allowed processors; the call reads the set. A failure changes nothing.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(pid, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Nanoseconds of the monotonic clock, the one that `Stats::last_death_ns` is in.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds that the calling thread has been on a processor.
pub(crate) fn thread_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the local only. Both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|&pid| pid > 0);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: takes numbers only; a positive pid is one process, never a group.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One field of `/proc/PID/stat`, counted as `proc(5)` does (3: state, 4: parent). The name in
/// field 2 may hold blanks, so counting begins behind its parenthesis.
fn stat_field(path: &str, field: usize) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?).map(str::to_owned)
}

/// Whether a process is stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat_field(&format!("/proc/{pid}/stat"), 3).is_some_and(|state| state == "T")
}

/// Who forked a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    stat_field(&format!("/proc/{pid}/stat"), 4)?.parse().ok()
}

/// Threads of this process.
pub(crate) fn own_threads() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Nanoseconds that a thread has been on a processor; `task` is a folder of `/proc`.
///
/// `schedstat` counts nanoseconds; `stat` (utime and stime), which is always there, counts ticks
/// of 10 ms: over two seconds too coarse to see a thousandth of a core.
pub(crate) fn cpu_ns(task: &str) -> Option<u64> {
    let exact = fs::read_to_string(format!("{task}/schedstat")).ok();
    if let Some(ns) = exact.and_then(|text| text.split_whitespace().next()?.parse().ok()) {
        return Some(ns);
    }
    let ticks = |field| stat_field(&format!("{task}/stat"), field)?.parse::<u64>().ok();
    // SAFETY: takes a number only.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Some((ticks(14)? + ticks(15)?) * (1_000_000_000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_about_this_process() {
        let pid = std::process::id();
        assert_eq!(parent_of(pid), Some(std::os::unix::process::parent_id()));
        assert!(!is_stopped(pid));
        assert!(own_threads().contains(&pid));
        assert!(cpu_ns("/proc/self").is_some());
        assert!(cpu_ns("/proc/none").is_none());
    }

    #[test]
    fn a_pin_ends_with_its_guard() {
        let before = allowed_cpus();
        assert!(!before.is_empty());
        let pinned = Pinned::to(before[0]);
        assert_eq!(allowed_cpus(), before[..1]);
        drop(pinned);
        assert_eq!(allowed_cpus(), before);
    }

    #[test]
    fn no_signal_goes_to_a_group() {
        assert!(signal(0, 0).is_err());
        assert!(signal(u32::MAX, 0).is_err());
    }
}
