//! What bodies print. A worker ends without exit handlers and may be killed at any time, so text
//! without a newline would stay in the buffers of the process for ever.

use std::io::Write;

#[allow(non_upper_case_globals, reason = "the C library's own name")]
unsafe extern "C" {
    /// The C library's standard output.
    static stdout: *mut libc::FILE;
    fn __fpending(file: *mut libc::FILE) -> usize;
    fn __fpurge(file: *mut libc::FILE);
}

/// In the fork server: what the host had not written when it forked is the host's to write.
pub fn forget_the_hosts() {
    // SAFETY: the C library's own file; this process has one thread.
    unsafe { __fpurge(stdout) };
}

/// In a worker whose output is a pipe: C writes lines as soon as they are whole, as at a terminal.
pub fn by_lines() {
    // SAFETY: the C library's own file, into which nothing has been written here yet.
    unsafe { libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0) };
}

/// Writes what has been printed, by Rust or by C, and is in a buffer.
#[inline]
pub fn flush() {
    // Its lock was free when this process was forked, or it would not have been.
    let _ = std::io::stdout().flush();
    // SAFETY: the C library's own file, which nobody closes without ending its own output.
    unsafe {
        if __fpending(stdout) > 0 {
            libc::fflush(stdout);
        }
    }
}
