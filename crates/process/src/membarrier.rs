//! A fence that one process makes all others pass.

/// `MEMBARRIER_CMD_GLOBAL_EXPEDITED` of `linux/membarrier.h`.
const GLOBAL_EXPEDITED: i32 = 1 << 1;
/// `MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED`.
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

fn command(command: i32) -> i64 {
    // SAFETY: no pointers are passed.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// Registers this process, so that [`everywhere`] reaches its threads. False where the system has
/// no such thing. Asked again after every fork, to be sure.
pub fn register() -> bool {
    let supported = command(0);
    let both = i64::from(GLOBAL_EXPEDITED | REGISTER_GLOBAL_EXPEDITED);
    supported > 0 && supported & both == both && command(REGISTER_GLOBAL_EXPEDITED) == 0
}

/// Every thread of a registered process that runs now passes a full fence before this returns.
/// (The plain global command waits for a grace period of the kernel: never that.)
pub fn everywhere() {
    command(GLOBAL_EXPEDITED);
}
