//! What this machine has: memory, processors, threads of this process.

use std::fs;
use std::path::Path;

/// Bytes that can still be used: the lesser of what the kernel calls available (with what it can
/// swap out) and what the memory control groups of this process leave. `None` when nothing can be
/// read.
pub fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = left_in_groups(Path::new("/sys/fs/cgroup"), &groups);
    [left_in_machine(&info), left].into_iter().flatten().min()
}

fn left_in_machine(info: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(field("MemAvailable:")?.saturating_add(field("SwapFree:").unwrap_or(0)))
}

/// The least that any group leaves, from this process's own to the root, of either version. Pages of
/// files that nobody has used for long do not count as used: the kernel takes them first.
fn left_in_groups(mounts: &Path, groups: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, files) = match controllers {
            "" => (mounts.to_owned(), ["memory.max", "memory.current", "inactive_file"]),
            c if c.split(',').any(|c| c == "memory") => (
                mounts.join("memory"),
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
            ),
            _ => continue,
        };
        // Where the path is that of another view of the tree, the root is still ours.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            least = [least, left_in_group(&root.join(group), files)].into_iter().flatten().min();
        }
    }
    least
}

fn left_in_group(group: &Path, [limit, usage, idle]: [&str; 3]) -> Option<u64> {
    let read = |file| fs::read_to_string(group.join(file)).ok();
    let number = |file| read(file)?.trim().parse::<u64>().ok();
    let limit = number(limit)?; // or `max`
    let stat = read("memory.stat").unwrap_or_default();
    let idle = stat.lines().find_map(|line| {
        let (name, count) = line.split_once(' ')?;
        if name == idle { count.trim().parse::<u64>().ok() } else { None }
    });
    let used = number(usage).unwrap_or(0).saturating_sub(idle.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// The names of the threads of this process, but the calling one.
pub fn other_threads() -> Vec<String> {
    // SAFETY: passes no pointers.
    let own = unsafe { libc::gettid() }.to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| *task.file_name() != *own);
    let names = others.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

/// The processors that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect()
}

/// Keeps the calling thread on one processor.
pub fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    if set.set(cpu).is_ok() {
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of control groups, by the path of each file.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_group_of_the_second_version_counts_without_idle_files() {
        let root = tree(&[
            ("memory.max", "900\n"),
            ("a/memory.max", "500\n"),
            ("a/memory.current", "300\n"),
            ("a/memory.stat", "anon 10\ninactive_file 250\nslab 3\n"),
            ("a/b/memory.max", "max\n"),
        ]);
        assert_eq!(left_in_groups(root.path(), "0::/a/b\n"), Some(450));
        assert_eq!(left_in_groups(root.path(), "0::/elsewhere/c\n"), Some(900));
        assert_eq!(left_in_groups(root.path(), "0::/\n"), Some(900));
    }

    #[test]
    fn the_first_version_has_a_tree_of_its_own() {
        let root = tree(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/a/memory.limit_in_bytes", "400\n"),
            ("memory/a/memory.usage_in_bytes", "1000\n"),
            ("memory/a/memory.stat", "total_inactive_file 700\n"),
            ("unified/memory.max", "5\n"),
        ]);
        let groups = "8:pids:/\n4:cpu,memory:/a\n0::/\n";
        assert_eq!(left_in_groups(root.path(), groups), Some(100));
        assert_eq!(left_in_groups(root.path(), "4:memory:/\n"), Some(9223372036854771712));
        assert_eq!(left_in_groups(root.path(), "rubbish\n1:cpu:/a"), None);
    }

    #[test]
    fn the_machine_can_swap() {
        let info = "MemTotal: 9 kB\nMemAvailable:    100 kB\nSwapFree:    20 kB\n";
        assert_eq!(left_in_machine(info), Some(120 << 10));
        assert_eq!(left_in_machine("MemFree: 1 kB"), None);
    }
}
