//! The limits of this process, named where they are what refused something.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

type Resource = libc::__rlimit_resource_t;

/// What a limit allows this process; `None` where there is none.
pub fn soft(resource: Resource) -> Option<u64> {
    limit(Pid::this(), resource)
}

/// Whether a file of so many bytes may be made. Asked before its length is set: the system does
/// not only refuse a longer one, it ends the process (SIGXFSZ).
pub fn check_file_length(bytes: u64) -> io::Result<()> {
    match soft(libc::RLIMIT_FSIZE) {
        Some(limit) if bytes > limit => {
            let why = format!(
                "shared memory is a file of {bytes} bytes here, and this process may make files \
                 of at most {limit} bytes (RLIMIT_FSIZE, `ulimit -f`); ask for less memory, or \
                 raise the limit"
            );
            Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
        }
        _ => Ok(()),
    }
}

/// What to say behind an error of the system: the limit that is the usual reason, and its value.
pub fn hint(error: &io::Error) -> String {
    reason(error, Pid::this()).map_or_else(String::new, |why| format!("; {why}"))
}

/// The same in front of an error on the way to a new process. `who` is the process to which it was
/// said: each has limits of its own.
pub fn explain(error: io::Error, who: Pid) -> io::Error {
    match reason(&error, who) {
        Some(why) => io::Error::new(error.kind(), format!("{why} ({error})")),
        None => error,
    }
}

/// What the system may have meant, with the limits of `who`.
fn reason(error: &io::Error, who: Pid) -> Option<String> {
    let limit = |resource, name: &str, flag: &str| match limit(who, resource) {
        Some(limit) => format!("; {name} is {limit} (`ulimit -{flag}`): raise it"),
        None => String::new(),
    };
    let descriptors = || {
        let limit = limit(libc::RLIMIT_NOFILE, "RLIMIT_NOFILE", "n");
        format!("no descriptor is free{limit}")
    };
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE => descriptors(),
        Errno::ETOOMANYREFS => {
            format!("too many descriptors on their way between processes; {}", descriptors())
        }
        Errno::ENFILE => "the whole system has no file free (sysctl fs.file-max)".to_owned(),
        Errno::ENOMEM => format!(
            "there is no memory for it, in the machine or in the memory control group (see also \
             sysctl vm.overcommit_memory){}",
            limit(libc::RLIMIT_AS, "RLIMIT_AS", "v")
        ),
        Errno::EFBIG => {
            format!("the file is too long{}", limit(libc::RLIMIT_FSIZE, "RLIMIT_FSIZE", "f"))
        }
        Errno::EAGAIN => {
            let own = limit(libc::RLIMIT_NPROC, "RLIMIT_NPROC", "u");
            let group = pids_limit().map_or_else(String::new, |(path, limit)| {
                format!("; pids.max of the control group {path} is {limit}")
            });
            format!(
                "no further process or thread is allowed{own}{group}; see also sysctl \
                 kernel.pid_max and kernel.threads-max"
            )
        }
        Errno::EPERM | Errno::ENOSYS => {
            "a filter of system calls (seccomp) or a security module may refuse it".to_owned()
        }
        _ => return None,
    })
}

/// The soft limit of a process; `None` where there is none, or it may not be asked for.
fn limit(who: Pid, resource: Resource) -> Option<u64> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: only asks; writes one live local.
    let code = unsafe { libc::prlimit(who.as_raw(), resource, std::ptr::null(), &raw mut now) };
    (code == 0 && now.rlim_cur != libc::RLIM_INFINITY).then_some(now.rlim_cur)
}

/// The smallest limit of processes on the way from this process's control group to the root,
/// either version, and whose it is.
fn pids_limit() -> Option<(String, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least: Option<(String, u64)> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            c if c.split(',').any(|c| c == "pids") => "/sys/fs/cgroup/pids",
            _ => continue,
        };
        let mut path = path.trim_matches('/');
        loop {
            let limit = fs::read_to_string(format!("{root}/{path}/pids.max"));
            let limit = limit.ok().and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) = limit
                && least.as_ref().is_none_or(|(_, known)| limit < *known)
            {
                least = Some((format!("/{path}"), limit));
            }
            if path.is_empty() {
                break;
            }
            path = path.rfind('/').map_or("", |at| &path[..at]);
        }
    }
    least
}
