//! Tasks through the C interface, which is compiled into this program.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use api::builder::{mr_build, mr_builder_new, mr_register};
use api::executor::mr_executor_close;
use api::options::mr_options_init;
use api::runs::{mr_run_begin, mr_run_end, mr_wait};
use api::submit::{mr_submission, mr_submit};
use api::values::{
    mr_call_config, mr_callable, mr_dtype, mr_function, mr_tag, mr_task_args_view, mr_task_context,
    mr_tensor, mr_tensor_init,
};
use api::{buffers, error};

use crate::rows::Counted;
use crate::stage::{BATCHES, Stage, batch_done, counted};

#[path = "../../ffi/src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, clippy::all, reason = "all of it is used by C")]
mod api;

/// A status of C, as what was said of it.
fn check(status: c_int) -> Counted<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: text of the library, valid until the next failing call of this thread.
    Err(unsafe { CStr::from_ptr(error::mr_last_error()) }.to_string_lossy().into())
}

/// A body: `user` is the stage.
macro_rules! body {
    ($name:ident, $does:expr) => {
        unsafe extern "C" fn $name(
            _: *const mr_task_args_view,
            _: *const mr_call_config,
            _: *const mr_task_context,
            user: *mut c_void,
        ) -> c_int {
            // SAFETY: registered with a stage that lives until the executor is closed.
            ($does)(unsafe { *user.cast::<Stage>() });
            0
        }
    };
}

body!(gate, Stage::pass);
body!(stop, Stage::stop);
body!(empty, |_| ());

/// Each with an input and an output of its own, and a scalar.
pub(crate) fn independent(tasks: usize) -> Counted<()> {
    let mut stage = Stage::new()?;
    // SAFETY: as the header says: places for what is returned, pointers that live as long as they are
    // used, and handles that were returned.
    unsafe {
        let mut options = MaybeUninit::uninit();
        check(mr_options_init(options.as_mut_ptr()))?;
        let mut options = options.assume_init();
        (options.workers, options.heap_bytes, options.buffer_bytes) = (1, 1 << 20, 1 << 20);
        let mut builder = null_mut();
        check(mr_builder_new(&raw const options, &raw mut builder))?;
        let mut register = |name: &CStr, body| -> Counted<mr_callable> {
            let mut callable = 0;
            let body: mr_function = Some(body);
            let user = (&raw mut stage).cast();
            check(mr_register(builder, name.as_ptr(), body, user, &raw mut callable))?;
            Ok(callable)
        };
        let gate = register(c"gate", gate)?;
        let stop = register(c"stop", stop)?;
        let empty = register(c"empty", empty)?;
        let mut exec = null_mut();
        check(mr_build(builder, &raw mut exec))?;
        let (mut buffer, mut data) = (null_mut(), null_mut());
        let (dtype, cells) = (MaybeUninit::new(mr_dtype::MR_UINT64), 2 * tasks as u32);
        check(buffers::mr_buffer_new(exec, dtype, &raw const cells, 1, &raw mut buffer))?;
        check(buffers::mr_buffer_data(buffer, &raw mut data, null_mut()))?;
        let cell = |at: usize| -> Counted<mr_tensor> {
            let (mut tensor, one) = (MaybeUninit::uninit(), 1);
            let data = data.cast::<u64>().add(at).cast();
            check(mr_tensor_init(tensor.as_mut_ptr(), data, dtype, &raw const one, 1))?;
            Ok(tensor.assume_init())
        };
        let cells: Vec<_> = (0..2 * tasks).map(cell).collect::<Result<_, _>>()?;
        let tags = [mr_tag::MR_INPUT, mr_tag::MR_OUTPUT].map(MaybeUninit::new);
        let bare = |callable| mr_submission {
            size: size_of::<mr_submission>(),
            callable,
            tensors: null(),
            tags: null(),
            tensor_count: 0,
            scalars: null(),
            scalar_count: 0,
            config: null(),
            options: null(),
        };
        let mut run = null_mut();
        check(mr_run_begin(exec, &raw mut run))?;
        for _ in 0..BATCHES {
            check(mr_submit(run, &bare(gate), null_mut()))?;
            stage.await_closed(1);
            let submitted = counted(|| {
                (0..tasks).find_map(|task| {
                    let (tensors, scalar) = ([cells[task], cells[tasks + task]], task as u64);
                    let task = mr_submission {
                        tensors: tensors.as_ptr(),
                        tags: tags.as_ptr(),
                        tensor_count: 2,
                        scalars: &raw const scalar,
                        scalar_count: 1,
                        ..bare(empty)
                    };
                    let status = mr_submit(run, &task, null_mut());
                    (status != 0).then_some(status)
                })
            });
            check(submitted.unwrap_or(0))?;
            batch_done();
            let mut last = MaybeUninit::uninit();
            check(mr_submit(run, &bare(stop), last.as_mut_ptr()))?;
            stage.open(1);
            check(mr_wait(run, last.as_ptr()))?;
        }
        check(mr_run_end(run))?;
        check(buffers::mr_buffer_free(buffer))?;
        check(mr_executor_close(exec))
    }
}
