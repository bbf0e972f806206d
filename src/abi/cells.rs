//! Elements that several threads and processes may touch at the same time, as elements of any size.
//!
//! A race gives bytes that were written, and is nobody's undefined behaviour: an access stands for
//! relaxed atomic ones of its single bytes, which may go with accesses of other sizes to the same
//! bytes (atomics of the language may not). One instruction of the machine does them all, so an
//! element that is aligned to its size is read and written in one piece. It costs what a plain move
//! costs.

use bytemuck::Pod;

/// Reads an element, in one piece if it is aligned to its size.
///
/// # Safety
/// The element is mapped. Whoever else touches it meanwhile does so through this file, or in
/// another process.
#[inline(always)]
pub(crate) unsafe fn load<T: Pod>(place: *mut T) -> T {
    // SAFETY: mapped by the caller's promise; any bits of that size are an element.
    unsafe {
        match size_of::<T>() {
            8 => bytemuck::pod_read_unaligned(&machine::load8(place.cast()).to_ne_bytes()),
            4 => bytemuck::pod_read_unaligned(&machine::load4(place.cast()).to_ne_bytes()),
            2 => bytemuck::pod_read_unaligned(&machine::load2(place.cast()).to_ne_bytes()),
            _ => {
                let mut value = T::zeroed();
                for (at, byte) in bytemuck::bytes_of_mut(&mut value).iter_mut().enumerate() {
                    *byte = machine::load1(place.cast::<u8>().add(at));
                }
                value
            }
        }
    }
}

/// Writes an element, in one piece where [`load`] reads it in one.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T: Pod>(place: *mut T, value: T) {
    let bytes = bytemuck::bytes_of(&value);
    // SAFETY: as in `load`.
    unsafe {
        match size_of::<T>() {
            8 => machine::store8(place.cast(), bytemuck::pod_read_unaligned(bytes)),
            4 => machine::store4(place.cast(), bytemuck::pod_read_unaligned(bytes)),
            2 => machine::store2(place.cast(), bytemuck::pod_read_unaligned(bytes)),
            _ => {
                for (at, &byte) in bytes.iter().enumerate() {
                    machine::store1(place.cast::<u8>().add(at), byte);
                }
            }
        }
    }
}

/// Loads and stores of the machine, which the compiler neither splits nor joins.
mod machine {
    use std::arch::asm;

    macro_rules! moves {
        ($($load:ident $store:ident $ty:ty, $x86:literal $value:ident, $ldr:literal $str:literal;)*) => { $(
            /// # Safety
            /// The bytes are mapped; others touch them by such moves alone, or in other processes.
            #[inline(always)]
            pub(super) unsafe fn $load(place: *mut $ty) -> $ty {
                let value: $ty;
                // SAFETY: the caller's promise.
                unsafe {
                    #[cfg(target_arch = "x86_64")]
                    asm!(
                        concat!("mov {value", $x86, "}, [{place}]"),
                        place = in(reg) place,
                        value = out($value) value,
                        options(nostack, preserves_flags, readonly),
                    );
                    #[cfg(target_arch = "aarch64")]
                    asm!(
                        concat!($ldr, ", [{place}]"),
                        place = in(reg) place,
                        value = out(reg) value,
                        options(nostack, preserves_flags, readonly),
                    );
                }
                value
            }

            /// # Safety
            /// As above.
            #[inline(always)]
            pub(super) unsafe fn $store(place: *mut $ty, value: $ty) {
                // SAFETY: the caller's promise.
                unsafe {
                    #[cfg(target_arch = "x86_64")]
                    asm!(
                        concat!("mov [{place}], {value", $x86, "}"),
                        place = in(reg) place,
                        value = in($value) value,
                        options(nostack, preserves_flags),
                    );
                    #[cfg(target_arch = "aarch64")]
                    asm!(
                        concat!($str, ", [{place}]"),
                        place = in(reg) place,
                        value = in(reg) value,
                        options(nostack, preserves_flags),
                    );
                }
            }
        )* };
    }

    moves! {
        load8 store8 u64, ":r" reg, "ldr {value:x}" "str {value:x}";
        load4 store4 u32, ":e" reg, "ldr {value:w}" "str {value:w}";
        load2 store2 u16, ":x" reg, "ldrh {value:w}" "strh {value:w}";
        load1 store1 u8, "" reg_byte, "ldrb {value:w}" "strb {value:w}";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: Pod + PartialEq + std::fmt::Debug>(value: T) {
        let mut bytes = [0u8; 24];
        for at in 0..8 {
            bytes.fill(0xa5);
            let place = bytes.as_mut_ptr().wrapping_add(at).cast::<T>();
            // SAFETY: inside the array, which nobody else touches; any alignment will do.
            let read = unsafe {
                store(place, value);
                load(place)
            };
            assert_eq!(read, value);
            let around = [&bytes[..at], &bytes[at + size_of::<T>()..]].concat();
            assert!(around.iter().all(|&byte| byte == 0xa5), "nothing beside it is touched");
        }
    }

    #[test]
    fn elements_of_every_size() {
        there_and_back(0x0102_0304_0506_0708u64);
        there_and_back(-2.5f32);
        there_and_back(0xbeefu16);
        there_and_back(-7i8);
        there_and_back([1u8, 2, 3, 4, 5]);
    }
}
