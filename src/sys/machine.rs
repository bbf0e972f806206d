//! What this machine has: memory, processors, threads of this process.

use std::fs;

/// Bytes that can still be used: the lesser of what the kernel calls available and what the
/// memory control group of this process leaves. `None` when nothing can be read.
pub(crate) fn available_memory() -> Option<u64> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let limit = cgroup_memory_limit();
    match (available, limit) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The smallest limit on the way from this process's control group to the root, either version.
fn cgroup_memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut path = path.trim_matches('/').to_owned();
        loop {
            let read = fs::read_to_string(format!("{root}/{path}/{file}"));
            if let Some(limit) = read.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
                least = Some(least.map_or(limit, |l| l.min(limit)));
            }
            if path.is_empty() {
                break;
            }
            path.truncate(path.rfind('/').unwrap_or(0));
        }
    }
    least
}

/// The names of the threads of this process, but the calling one.
pub(crate) fn other_threads() -> Vec<String> {
    // SAFETY: passes no pointers.
    let own = unsafe { libc::gettid() }.to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| *task.file_name() != *own);
    let names = others.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

/// The processors that this process may run on.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect()
}

/// Keeps the calling thread on one processor.
pub(crate) fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    if set.set(cpu).is_ok() {
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}
