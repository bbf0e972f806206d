//! The limits of this process, named where they are what refused something.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

type Resource = libc::__rlimit_resource_t;

/// What a limit allows; `None` where there is none.
pub(crate) fn soft(resource: Resource) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one live local.
    let code = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (code == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether a file of so many bytes may be made. Asked before its length is set: the system does
/// not only refuse a longer one, it ends the process (SIGXFSZ).
pub(crate) fn check_file_length(bytes: u64) -> io::Result<()> {
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
pub(crate) fn hint(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return String::new() };
    let named = |resource, name: &str, flag: &str, what: &str| match soft(resource) {
        Some(limit) => format!("; {name} (`ulimit -{flag}`) allows this process {limit} {what}"),
        None => String::new(),
    };
    match Errno::from_raw(code) {
        Errno::EMFILE => named(libc::RLIMIT_NOFILE, "RLIMIT_NOFILE", "n", "descriptors: raise it"),
        Errno::ENFILE => {
            "; the whole system has as many files open as fs.file-max allows".to_owned()
        }
        Errno::ENOMEM => named(
            libc::RLIMIT_AS,
            "RLIMIT_AS",
            "v",
            "bytes of addresses: raise it, or ask for less memory",
        ),
        Errno::EFBIG => named(libc::RLIMIT_FSIZE, "RLIMIT_FSIZE", "f", "bytes in a file: raise it"),
        Errno::EAGAIN => {
            let own = named(libc::RLIMIT_NPROC, "RLIMIT_NPROC", "u", "processes and threads");
            format!("{own}; a pids control group, if there is one, has its own limit (pids.max)")
        }
        Errno::EPERM | Errno::ENOSYS => {
            "; a filter of system calls (seccomp) or a security module may refuse it".to_owned()
        }
        _ => String::new(),
    }
}

/// What the system refused on the way to a new process, in words that name the limit, if it is one.
/// `who` is the process to which it was said: each has limits of its own.
pub(crate) fn explain(error: io::Error, who: Pid) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EMFILE) => descriptors(who),
        Some(libc::ETOOMANYREFS) => {
            format!("too many descriptors on their way between processes; {}", descriptors(who))
        }
        Some(libc::ENFILE) => "the whole system has no file free (sysctl fs.file-max)".to_owned(),
        Some(libc::EAGAIN) => processes(who),
        Some(libc::ENOMEM) => {
            "the machine, or the memory control group, has no memory for another \
                               process (see also sysctl vm.overcommit_memory)"
                .to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{why} ({error})"))
}

fn descriptors(who: Pid) -> String {
    let limit = limit(who, libc::RLIMIT_NOFILE);
    format!("no descriptor is free: RLIMIT_NOFILE is {limit} (raise it with `ulimit -n`)")
}

fn processes(who: Pid) -> String {
    let limit = limit(who, libc::RLIMIT_NPROC);
    let group = pids_limit().map_or_else(String::new, |(path, limit)| {
        format!(", pids.max of the control group {path} is {limit}")
    });
    format!(
        "no further process is allowed: RLIMIT_NPROC is {limit} (`ulimit -u`){group}; see also \
         sysctl kernel.pid_max and kernel.threads-max"
    )
}

/// The soft limit of a process, as text.
fn limit(who: Pid, resource: Resource) -> String {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: only asks; writes one live local.
    let code = unsafe { libc::prlimit(who.as_raw(), resource, std::ptr::null(), &raw mut now) };
    match now.rlim_cur {
        _ if code != 0 => "unknown".to_owned(),
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        number => number.to_string(),
    }
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
