//! Requests of a program to callgrind, under which it runs. Outside of it they do nothing.

use std::ffi::CStr;

// Numbers of callgrind's requests: its two letters, and a count.
const TOGGLE_COLLECT: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16 | 2;
const DUMP_STATS_AT: usize = TOGGLE_COLLECT + 1;

/// Begins to count what this thread does, or ends that.
#[inline(always)]
pub(crate) fn toggle() {
    request(TOGGLE_COLLECT, 0);
}

/// Writes what was counted in this process to a file, under a name, and begins at zero again.
pub(crate) fn dump(name: &CStr) {
    request(DUMP_STATS_AT, name.as_ptr() as usize);
}

/// Valgrind knows a request by a sequence of instructions that changes nothing.
#[inline(always)]
fn request(number: usize, argument: usize) {
    let arguments = [number, argument, 0, 0, 0, 0];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: rotations of a register by 128 bits in all, and an exchange with itself; valgrind reads
    // the array and puts its answer into rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0usize => _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, with the answer in x3.
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") arguments.as_ptr(),
            inout("x3") 0usize => _,
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = arguments;
}
