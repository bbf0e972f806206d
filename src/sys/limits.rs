//! The limits of this process, named where they are what refused something.

use std::io;

use nix::errno::Errno;

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
