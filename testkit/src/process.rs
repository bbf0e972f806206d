//! Looking at processes, and ending them.

use std::fs;
use std::time::Duration;

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "not process {pid}");
    // SAFETY: passes no pointers.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to the calling thread.
pub fn raise(signal: i32) {
    // SAFETY: passes no pointers.
    unsafe { libc::raise(signal) };
}

/// State character and parent of a process.
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether the process runs or sleeps; a zombie does neither.
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The number of a process's parent, 0 if there is none.
pub fn parent_of(pid: i32) -> i32 {
    stat(pid).map_or(0, |(_, parent)| parent)
}

/// Bytes of memory that are the process's own (not shared with others), in KiB.
pub fn own_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("RssAnon:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Whether a test may bound what `own_kib` says. A sanitizer keeps what was freed for a while, so
/// `.ci/sanitize` says no.
pub fn bounds_memory() -> bool {
    std::env::var_os("MAILRING_SANITIZED").is_none()
}

/// Processor time of a process so far.
pub fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u64> =
        behind.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    // SAFETY: asks for a constant.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Duration::from_secs_f64(fields.iter().sum::<u64>() as f64 / ticks)
}

/// Open descriptors of this process.
pub fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
