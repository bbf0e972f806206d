//! Device memory: one mapping a device, taken from the front, given back all at once.

use std::cell::Cell;
use std::ptr::NonNull;

/// Bytes of a device unless `SIMCHIP_MEMORY` says otherwise (virtual; nothing is touched before
/// use).
const DEFAULT_BYTES: usize = 1 << 30;
/// What device addresses are multiples of.
const ALIGN: usize = 64;

/// The memory of one device.
pub(crate) struct DeviceMemory {
    first: NonNull<u8>,
    size: usize,
    used: Cell<usize>,
}

impl DeviceMemory {
    pub(crate) fn new() -> Result<Self, String> {
        let size = match std::env::var("SIMCHIP_MEMORY") {
            Err(_) => DEFAULT_BYTES,
            Ok(text) => match text.parse() {
                Ok(bytes) if bytes > 0 => bytes,
                _ => return Err(format!("SIMCHIP_MEMORY: `{text}` is not a number of bytes")),
            },
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            let why = std::io::Error::last_os_error();
            return Err(format!("no {size} bytes of device memory: {why}"));
        }
        let first = NonNull::new(address.cast()).ok_or("device memory at address 0")?;
        Ok(Self { first, size, used: Cell::new(0) })
    }

    /// Bytes at a multiple of 64, until the next `clear`. They hold what they held before.
    pub(crate) fn take(&self, bytes: usize) -> Option<NonNull<u8>> {
        let begin = self.used.get().next_multiple_of(ALIGN);
        let end = begin.checked_add(bytes).filter(|&end| end <= self.size)?;
        self.used.set(end);
        // SAFETY: within the mapping, or one behind its last byte.
        Some(unsafe { self.first.add(begin) })
    }

    /// Whether all these bytes were taken from here.
    pub(crate) fn holds(&self, address: *const u8, bytes: u64) -> bool {
        let offset = (address as u64).checked_sub(self.first.as_ptr() as u64);
        let end = offset.and_then(|offset| offset.checked_add(bytes));
        end.is_some_and(|end| end <= self.used.get() as u64)
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) {
        self.used.set(0);
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped once; tasks that used it are over.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chip_memory_is_aligned_and_bounded() {
        let mut memory = DeviceMemory::new().unwrap();
        let a = memory.take(3).unwrap();
        let b = memory.take(100).unwrap();
        assert_eq!(b.as_ptr() as usize - a.as_ptr() as usize, 64);
        assert!(memory.holds(a.as_ptr(), 164) && !memory.holds(a.as_ptr(), 165));
        assert!(!memory.holds(std::ptr::null(), 1) && !memory.holds(b.as_ptr(), u64::MAX));
        assert!(memory.take(usize::MAX).is_none());
        assert!(memory.take(memory.size()).is_none());
        memory.clear();
        assert_eq!(memory.take(memory.size()), Some(a));
        assert!(memory.take(1).is_none());
    }
}
