//! The simulated chip's six functions called as no worker would.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use mailring::abi::{ChipCallable, ChipStorageTaskArgs};
use mailring::chip::ChipWorker;
use mailring_simchip::symbols::{
    create_device_context, destroy_device_context, finalize_device, get_runtime_size, run_runtime,
    set_device,
};

use crate::kit::{Lab, set};

#[repr(align(64))]
struct Lines([u8; 64 * 1024]);

/// The arguments of a call that succeeds; each test spoils one.
struct Call {
    context: *mut c_void,
    buffer: Box<Lines>,
    buffer_at: Option<usize>,
    callable: ChipCallable,
    callable_at: Option<*const u8>,
    args: ChipStorageTaskArgs,
    args_at: Option<*const u8>,
    device: i32,
    aicpu: (*const u8, usize),
    aicore: (*const u8, usize),
}

impl Call {
    fn new(lab: &Lab) -> Self {
        let context = create_device_context();
        assert!(!context.is_null());
        assert!(get_runtime_size() <= size_of::<Lines>());
        // SAFETY: a context of ours.
        assert_eq!(unsafe { set_device(context, 4) }, 0);
        Self {
            context,
            buffer: Box::new(Lines([0; 64 * 1024])),
            buffer_at: Some(0),
            callable: lab.program("touch", &[]),
            callable_at: None,
            args: ChipStorageTaskArgs::new(),
            args_at: None,
            device: 4,
            aicpu: (null(), 0),
            aicore: (null(), 0),
        }
    }

    fn run(&mut self) -> i32 {
        let first = self.buffer.0.as_mut_ptr();
        let callable = self.callable_at.unwrap_or(self.callable.as_ptr());
        let args = self.args_at.unwrap_or(self.args.as_bytes().as_ptr());
        // SAFETY: what is neither null nor refused before it is followed is what it should be.
        let code = unsafe {
            run_runtime(
                self.context,
                self.buffer_at.map_or(null_mut(), |at| first.add(at).cast()),
                callable.cast(),
                args.cast(),
                1,
                1,
                self.device,
                self.aicpu.0,
                self.aicpu.1,
                self.aicore.0,
                self.aicore.1,
                0,
                0,
            )
        };
        self.buffer.0.fill(0);
        code
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: a context of ours, used no more.
        unsafe { destroy_device_context(self.context) };
    }
}

pub(crate) fn null_contexts() {
    // SAFETY: null is allowed.
    unsafe {
        assert_eq!(set_device(null_mut(), 0), -5);
        assert_eq!(finalize_device(null_mut()), -5);
        destroy_device_context(null_mut());
    }
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    let context = std::mem::replace(&mut call.context, null_mut());
    assert_eq!(call.run(), -5);
    call.context = context;
    assert_eq!(call.run(), 0);
}

pub(crate) fn null_and_misplaced_pointers() {
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    assert_eq!(call.run(), 0);
    for at in [None, Some(1), Some(8), Some(32)] {
        call.buffer_at = at;
        assert_eq!(call.run(), -5, "buffer at {at:?}");
    }
    call.buffer_at = Some(64);
    assert_eq!(call.run(), 0);
    call.callable_at = Some(null());
    assert_eq!(call.run(), -5);
    call.callable_at = None;
    call.args_at = Some(null());
    assert_eq!(call.run(), -5);
    let bytes = [0u64; 210];
    call.args_at = Some(bytes.as_ptr().cast::<u8>().wrapping_add(4));
    assert_eq!(call.run(), -5);
    call.args_at = None;
    call.aicpu = (null(), 1);
    assert_eq!(call.run(), -5);
    call.aicpu = (null(), 0);
    call.aicore = (null(), 100);
    assert_eq!(call.run(), -5);
    call.aicore = (c"x".as_ptr().cast(), 1);
    assert_eq!(call.run(), 0);
}

pub(crate) fn a_used_buffer() {
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    for at in [0, 100, get_runtime_size() - 1] {
        call.buffer.0[at] = 1;
        assert_eq!(call.run(), -5, "byte {at}");
        assert_eq!(call.run(), 0);
    }
}

pub(crate) fn impossible_counts() {
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    let mut words = [0u64; 209];
    for (tensors, scalars) in [(-1, 0), (0, -1), (17, 0), (0, 129), (i32::MAX, 0), (0, i32::MIN)] {
        words[208] = u64::from(tensors as u32) | u64::from(scalars as u32) << 32;
        call.args_at = Some(words.as_ptr().cast());
        assert_eq!(call.run(), -5, "{tensors} tensors, {scalars} scalars");
    }
    words[208] = 128 << 32;
    call.args_at = Some(words.as_ptr().cast());
    assert_eq!(call.run(), 0);
}

/// Invalid bytes of the header, each alone.
pub(crate) fn spoilt_callables() {
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    let good = call.callable.as_bytes().to_vec();
    // Offset and word: signature entry, sig_count, func_name_len, child_count, config_name_len.
    for (at, word) in [
        (64, -1i32),
        (64, 17),
        (136, 64),
        (136, -1),
        (136, 2),
        (396, -1),
        (396, 33),
        (464, 65),
        (268, 1),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        call.callable_at = Some(bytes.as_ptr());
        assert_eq!(call.run(), -5, "{word} at {at}");
    }
    let mut bytes = good.clone();
    bytes[64..68].copy_from_slice(&1i32.to_le_bytes());
    bytes[..4].copy_from_slice(&4i32.to_le_bytes());
    call.callable_at = Some(bytes.as_ptr());
    assert_eq!(call.run(), -5, "an unknown direction");
    call.callable_at = Some(good.as_ptr());
    assert_eq!(call.run(), 0);
}

pub(crate) fn devices_out_of_order() {
    let lab = Lab::new();
    let mut call = Call::new(&lab);
    call.device = 5;
    assert_eq!(call.run(), -5, "another device than the one that is set");
    call.device = 4;
    // SAFETY: a context of ours.
    unsafe {
        assert_eq!(set_device(call.context, 5), -5, "one is set");
        assert_eq!(finalize_device(call.context), 0);
        assert_eq!(finalize_device(call.context), 0);
        assert_eq!(call.run(), -5, "none is set");
        assert_eq!(set_device(call.context, 99), -5);
        assert_eq!(set_device(call.context, 5), 0);
    }
    call.device = 5;
    assert_eq!(call.run(), 0);
}

/// The library beside this test is the one that was built with it, and no other is taken for it.
pub(crate) fn the_library_is_this_build() {
    let path = mailring_simchip::library_path().unwrap();
    assert_eq!(path.file_name().unwrap(), mailring_simchip::LIBRARY);
    // Here and there: the same functions behave the same.
    set("SIMCHIP_FAULT", "size");
    assert_eq!(get_runtime_size(), 0);
    let error = ChipWorker::start(&crate::kit::simulated(), 0).unwrap_err();
    assert!(error.to_string().contains("get_runtime_size returned 0"), "{error}");

    // A copy of this test, with a library of another state beside it, finds none.
    let lab = Lab::new();
    let program = lab.path("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let name = b"mailring-simchip build ";
    let ask = |bytes: &[u8]| {
        std::fs::write(lab.path(mailring_simchip::LIBRARY), bytes).unwrap();
        let mut command = std::process::Command::new(&program);
        command.env("MAILRING_TEST", "role::finder");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask(&bytes).trim(), lab.path(mailring_simchip::LIBRARY).to_str().unwrap());
    let mut stale = bytes;
    let places: Vec<usize> =
        (0..stale.len() - name.len()).filter(|&at| stale[at..].starts_with(name)).collect();
    assert!(!places.is_empty());
    for at in places {
        let digit = &mut stale[at + name.len()];
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    assert_eq!(ask(&stale).trim(), "none");
}

/// Says which library it finds.
pub(crate) fn finder() {
    match mailring_simchip::library_path() {
        Some(path) => println!("{}", path.display()),
        None => println!("none"),
    }
}
