//! Fuzz body: bytes as a sequence of calls over builders, arguments, tensors, blobs and the parts,
//! with handles that live, that are closed, of other kinds and made up. Nothing forks: builders are
//! never built, so handles of executors, runs and buffers are always refused.
//!
//! What must hold: a call never succeeds with a handle that does not live, and is never refused for
//! one that does; nothing panics; a refused call writes nothing and says why.
//!
//! Needs `api` (`ffi/src/api/mod.rs`) beside it, in the module that includes both.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use super::api::args::*;
use super::api::blob::*;
use super::api::buffers::*;
use super::api::builder::*;
use super::api::error::*;
use super::api::executor::*;
use super::api::options::*;
use super::api::pending::*;
use super::api::runs::*;
use super::api::status::*;
use super::api::submit::*;
use super::api::values::*;

/// Kinds that can be made here.
const BUILDER: usize = 0;
const ARGS: usize = 1;
const KINDS: usize = 2;

/// Handles of a kind that live at the same time, at most.
const MOST: usize = 4;

/// The input, read to its end; then zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number of some magnitude: small, or any 64 bits.
    fn number(&mut self) -> u64 {
        let first = self.byte();
        match first >> 6 {
            0 | 1 => u64::from(first),
            2 => u64::from(first & 63) << 8 | u64::from(self.byte()),
            _ => (0..8).fold(0, |all, _| all << 8 | u64::from(self.byte())),
        }
    }
}

/// A number where C has a constant of an enumeration.
fn constant<E: Copy>(number: u32) -> MaybeUninit<E> {
    assert_eq!(size_of::<E>(), 4);
    let mut constant = MaybeUninit::<E>::uninit();
    // SAFETY: four bytes, of any value in a `MaybeUninit`.
    unsafe { constant.as_mut_ptr().cast::<u32>().write_unaligned(number) };
    constant
}

/// What the calls have made.
#[derive(Default)]
struct World {
    live: [Vec<usize>; KINDS],
    closed: Vec<usize>,
    /// Scalars were added: no tensor may follow. By handle.
    scalars: Vec<usize>,
}

/// A handle that a call is given, and whether it should be taken.
#[derive(Clone, Copy)]
struct Given {
    handle: usize,
    good: bool,
}

impl Given {
    fn pointer<H>(self) -> *mut H {
        std::ptr::without_provenance_mut(self.handle)
    }
}

impl World {
    fn pick(&self, kind: usize, input: &mut Input<'_>) -> Given {
        let choice = input.byte();
        let among =
            |list: &[usize]| list.get(usize::from(choice >> 3) % list.len().max(1)).copied();
        let made = match choice & 7 {
            0 => None,
            1 => among(&self.closed),
            2 => among(&self.live[usize::from(choice >> 3) % KINDS]),
            3 => among(&self.live[kind]).map(|handle| handle ^ 1 << (input.byte() & 63)),
            4 => Some(input.number() as usize),
            _ => among(&self.live[kind]),
        };
        let handle = made.unwrap_or(0);
        Given { handle, good: self.live[kind].contains(&handle) }
    }

    fn made<H>(&mut self, kind: usize, handle: *mut H) {
        let handle = handle.addr();
        assert!(handle != 0 && !self.closed.contains(&handle), "a handle was given again");
        assert!(self.live.iter().all(|live| !live.contains(&handle)));
        self.live[kind].push(handle);
    }

    fn ended(&mut self, kind: usize, given: Given) {
        self.live[kind].retain(|&handle| handle != given.handle);
        self.scalars.retain(|&handle| handle != given.handle);
        if self.closed.len() < 64 {
            self.closed.push(given.handle);
        }
    }
}

/// Looks at the status of a call that was given this handle; whether it succeeded.
fn judge(given: Given, status: mr_status) -> bool {
    // SAFETY: text of the library, valid until the next failing call.
    let said = unsafe { CStr::from_ptr(mr_last_error()) };
    assert_ne!(status, MR_ERR_PANIC, "{said:?}");
    // A bad handle may be hidden by another bad argument, and by nothing else.
    assert!(status != MR_ERR_HANDLE || !given.good, "{said:?}");
    assert!(status != MR_OK || given.good, "a bad handle was taken");
    assert!(status == MR_OK || !said.is_empty());
    // SAFETY: a name lives for ever.
    let name = unsafe { CStr::from_ptr(mr_status_name(status)) };
    assert!(name.to_bytes().starts_with(b"MR_"), "status {status}");
    status == MR_OK
}

unsafe extern "C" fn body(
    args: *const mr_task_args_view,
    _config: *const mr_call_config,
    context: *const mr_task_context,
    _user: *mut c_void,
) -> c_int {
    // SAFETY: both are there for the length of the call.
    let (args, context) = unsafe { (&*args, &*context) };
    assert_eq!((context.task, context.attempt, context.members), (0, 1, 0));
    args.scalar_count
}

/// Runs the calls that the bytes mean.
pub fn calls(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::default();
    let mut rounds = 0;
    while !input.0.is_empty() && rounds < 400 {
        rounds += 1;
        match input.byte() % 8 {
            0 => make(&mut world, &mut input),
            1 => end(&mut world, &mut input),
            2 | 3 => arguments(&mut world, &mut input),
            4 | 5 => blobs(&world, &mut input),
            _ => absent(&world, &mut input),
        }
    }
    for kind in 0..KINDS {
        for handle in std::mem::take(&mut world.live[kind]) {
            assert!(close(kind, Given { handle, good: true }));
        }
    }
}

fn make(world: &mut World, input: &mut Input<'_>) {
    let kind = usize::from(input.byte()) % KINDS;
    if world.live[kind].len() >= MOST {
        return;
    }
    // SAFETY: every pointer is that of a local.
    unsafe {
        match kind {
            BUILDER => {
                let mut options = std::mem::zeroed::<mr_options>();
                assert_eq!(mr_options_init(&raw mut options), MR_OK);
                options.workers = input.number();
                let mode = u32::from(input.byte() & 3);
                options.mode = constant(mode);
                let mut made = null_mut();
                let status = mr_builder_new(&raw const options, &raw mut made);
                assert_eq!(status == MR_OK, mode < 2);
                if status == MR_OK {
                    world.made(kind, made);
                }
            }
            _ => {
                let mut made = null_mut();
                assert_eq!(mr_args_new(&raw mut made), MR_OK);
                world.made(kind, made);
            }
        }
    }
}

fn close(kind: usize, given: Given) -> bool {
    if given.handle == 0 {
        // NULL is nothing to free.
        let done =
            if kind == BUILDER { mr_builder_free(null_mut()) } else { mr_args_free(null_mut()) };
        assert_eq!(done, MR_OK);
        return false;
    }
    let status = match kind {
        BUILDER => mr_builder_free(given.pointer()),
        _ => mr_args_free(given.pointer()),
    };
    judge(given, status)
}

fn end(world: &mut World, input: &mut Input<'_>) {
    let kind = usize::from(input.byte()) % KINDS;
    let given = world.pick(kind, input);
    if close(kind, given) {
        world.ended(kind, given);
        assert!(!close(kind, Given { good: false, ..given }));
    }
}

fn tensor(input: &mut Input<'_>) -> mr_tensor {
    let ndims = u32::from(input.byte() % 7);
    let mut shapes = [0; MR_MAX_DIMS];
    shapes.iter_mut().take(ndims as usize).for_each(|n| *n = input.number() as u32);
    let dtype = input.byte() % 11;
    mr_tensor {
        data: input.number(),
        shapes,
        ndims,
        dtype,
        padding: [u8::from(input.byte() == 7); 7],
    }
}

fn arguments(world: &mut World, input: &mut Input<'_>) {
    let what = input.byte() % 6;
    // SAFETY: every pointer is that of a local.
    unsafe {
        if what == 0 {
            let given = world.pick(BUILDER, input);
            let (name, mut callable) = ([input.byte().max(1), 0], 77);
            let name = name.as_ptr().cast();
            let status =
                mr_register(given.pointer(), name, Some(body), null_mut(), &raw mut callable);
            assert!(judge(given, status) || callable == 77);
            return;
        }
        let given = world.pick(ARGS, input);
        let handle: *mut mr_args = given.pointer();
        match what {
            1 | 2 => {
                let (tensor, tag) = (tensor(input), u32::from(input.byte() % 6));
                let mut bytes = 77;
                let fits = mr_tensor_bytes(&raw const tensor, &raw mut bytes) == MR_OK;
                let order = !world.scalars.contains(&given.handle);
                let status = mr_args_add_tensor(handle, &raw const tensor, constant(tag));
                assert_eq!(judge(given, status), given.good && fits && order && tag < 5);
            }
            3 => {
                let status = mr_args_add_scalar(handle, input.number());
                if judge(given, status) && !world.scalars.contains(&given.handle) {
                    world.scalars.push(given.handle);
                }
            }
            4 => {
                let (mut tensors, mut scalars) = (0, 0);
                let status = mr_args_count(handle, &raw mut tensors, &raw mut scalars);
                if judge(given, status) {
                    assert_eq!(scalars > 0, world.scalars.contains(&given.handle));
                }
            }
            _ => {
                if judge(given, mr_args_clear(handle)) {
                    world.scalars.retain(|&other| other != given.handle);
                }
            }
        }
    }
}

fn blobs(world: &World, input: &mut Input<'_>) {
    let mut view =
        mr_task_args_view { tensor_count: -7, scalar_count: -7, tensors: null(), scalars: null() };
    // SAFETY: every pointer is that of a local, with its length.
    unsafe {
        if input.byte() & 1 == 0 {
            // Any bytes, at any address.
            let shift = usize::from(input.byte() & 7);
            let wanted = usize::from(input.byte()) * 2;
            let len = wanted.min(input.0.len());
            let mut words = vec![0u64; len / 8 + 3];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
            bytes[shift..shift + len].copy_from_slice(&input.0[..len]);
            let blob = bytes[shift..].as_ptr().cast::<c_void>();
            let status = mr_blob_read(blob, len, &raw mut view);
            let again = mr_run_from_blob(Some(body), null_mut(), blob, len, null());
            if status == MR_OK {
                assert!(shift == 0 && view.tensor_count >= 0 && view.scalar_count >= 0);
                let need = 8 + 40 * view.tensor_count as usize + 8 * view.scalar_count as usize;
                assert!(need <= len);
                assert_eq!(again == MR_OK, view.scalar_count == 0);
            } else {
                assert_eq!((status, again), (MR_ERR_ARGS, MR_ERR_ARGS));
                assert_eq!(view.tensor_count, -7);
            }
            return;
        }
        let given = world.pick(ARGS, input);
        let handle: *const mr_args = given.pointer();
        let (mut size, mut written, mut tensors, mut scalars) = (0, 77, 0, 0);
        if !judge(given, mr_blob_size(handle, &raw mut size)) {
            return;
        }
        let mut words = vec![0u64; size / 8 + 1];
        let room = size.saturating_sub(usize::from(input.byte() & 1));
        let status = mr_blob_write(handle, words.as_mut_ptr().cast(), room, &raw mut written);
        if !judge(given, status) {
            assert!(room < size && written == 77);
            return;
        }
        assert_eq!(written, size);
        assert_eq!(mr_args_count(handle, &raw mut tensors, &raw mut scalars), MR_OK);
        assert_eq!(mr_blob_read(words.as_ptr().cast(), size, &raw mut view), MR_OK);
        assert_eq!((view.tensor_count as usize, view.scalar_count as usize), (tensors, scalars));
    }
}

/// Functions on what cannot exist here: always refused, whatever they are given.
fn absent(world: &World, input: &mut Input<'_>) {
    let kind = usize::from(input.byte()) % KINDS;
    let given = Given { good: false, ..world.pick(kind, input) };
    let tensor = tensor(input);
    let task = mr_task { id: input.number(), run: given.handle as u64, place: input.number() };
    let (exec, run): (*mut mr_executor, *mut mr_run_handle) = (given.pointer(), given.pointer());
    let (mut word, mut size, mut flag) = (77u64, 77usize, 77);
    let mut made = tensor;
    let what = input.byte() % 16;
    // SAFETY: every pointer is that of a local; handles are numbers.
    let status = unsafe {
        match what {
            0 if !exec.is_null() => mr_executor_close(exec),
            0 | 1 => mr_executor_workers(exec, constant(0), &raw mut size),
            2 => mr_executor_busy(exec, 0, &raw mut flag),
            3 => mr_unregister(exec, input.number()),
            4 => mr_buffer_tensor(given.pointer(), &raw mut made),
            5 if given.handle != 0 => mr_buffer_free(given.pointer()),
            5 => submit(run, input),
            6 => mr_run_end(run),
            7 => mr_scope_begin(run),
            8 => mr_scope_end(run),
            9 => mr_cancel_scope(run, &raw mut word),
            10 => mr_wait(run, &raw const task),
            11 => mr_cancel(run, &raw const task, &raw mut flag),
            12 => mr_task_tensor(run, &raw const task, 0, &raw mut made),
            13 => mr_alloc(run, constant(4), null(), 0, &raw mut made),
            14 => mr_pending_wait(given.pointer(), 0, &raw mut flag),
            _ => mr_pending_cancel(given.pointer(), &raw mut word),
        }
    };
    judge(given, status);
    assert_eq!((word, size, flag), (77, 77, 77));
    assert_eq!(made.data, tensor.data);
}

/// A submit to a run that is not there, with arrays of any content.
///
/// # Safety
/// None: it is a call with pointers to locals.
unsafe fn submit(run: *mut mr_run_handle, input: &mut Input<'_>) -> mr_status {
    let tensors: Vec<mr_tensor> = (0..input.byte() % 4).map(|_| tensor(input)).collect();
    let tags: Vec<_> = tensors.iter().map(|_| constant(u32::from(input.byte() % 6))).collect();
    let scalars = [input.number(); 2];
    let task = mr_submission {
        size: size_of::<mr_submission>(),
        callable: input.number(),
        tensors: tensors.as_ptr(),
        tags: tags.as_ptr(),
        tensor_count: tensors.len(),
        scalars: scalars.as_ptr(),
        scalar_count: usize::from(input.byte() % 3),
        config: null(),
        options: null(),
    };
    // SAFETY: the arrays are as long as they are said to be.
    unsafe { mr_submit(run, &raw const task, null_mut()) }
}
