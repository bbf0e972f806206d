//! Fuzz body: any bytes as `mr_options` with any size. Builders are made and ended, never built.
//!
//! Needs `api` (`ffi/src/api/mod.rs`) beside it, in the module that includes both.

use std::ffi::CStr;

use super::api::builder::{mr_builder, mr_builder_free, mr_builder_new};
use super::api::error::mr_last_error;
use super::api::options::{mr_options, mr_options_init};
use super::api::status::{MR_ERR_ARGUMENT, MR_ERR_SIZE, MR_OK};

/// Bytes behind the structure that a newer caller may have.
const BEHIND: usize = 64;

/// The first byte says how the size is found, the others are the structure.
pub fn options(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let known = size_of::<mr_options>();
    let first = 88; // bytes of its first version
    let mut words = vec![0u64; (known + BEHIND) / 8 + 1];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let shift = usize::from(how & 7); // the structure at any address
    let space = &mut bytes[shift..shift + known + BEHIND];
    if how & 8 != 0 {
        // SAFETY: the place is as large as the structure.
        assert_eq!(unsafe { mr_options_init(space.as_mut_ptr().cast()) }, MR_OK);
    }
    let given = rest.len().min(space.len());
    space[..given].copy_from_slice(&rest[..given]);
    let size = match how >> 4 {
        0 => given,
        1 => known,
        2 => known + BEHIND,
        3 => known - 1,
        4 => usize::MAX,
        5 => 4097,
        n => known + usize::from(n),
    };
    space[..8].copy_from_slice(&size.to_ne_bytes());
    // The name is a pointer, which a caller must have right: none, or text.
    let name = std::mem::offset_of!(mr_options, name);
    let text = if how & 1 == 0 { std::ptr::null() } else { c"some name".as_ptr() };
    space[name..name + 8].copy_from_slice(&text.addr().to_ne_bytes());

    // So are descriptors.
    let kept = std::mem::offset_of!(mr_options, keep_fds);
    space[kept..kept + 16].fill(0);

    let mut builder: *mut mr_builder = std::ptr::null_mut();
    // SAFETY: `size` bytes are there unless it is refused for its value; the name is text.
    let status = unsafe { mr_builder_new(space.as_ptr().cast(), &raw mut builder) };
    match status {
        MR_OK => {
            assert!((first..=known + BEHIND).contains(&size));
            assert!(space[known.min(size)..size].iter().all(|&byte| byte == 0));
            assert_eq!(mr_builder_free(builder), MR_OK);
        }
        MR_ERR_SIZE | MR_ERR_ARGUMENT => {
            assert!(builder.is_null());
            // SAFETY: text of the library, valid until the next failing call.
            assert!(!unsafe { CStr::from_ptr(mr_last_error()) }.is_empty());
        }
        other => panic!("status {other}"),
    }
}
