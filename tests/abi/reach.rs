//! Safe accessors follow addresses of executors only.

use mailring::abi::{
    AbiError, CallConfig, ContinuousTensor, DataType, TaskArgs, TaskArgsView, write_blob,
};
use mailring::{Executor, Mode, TaskContext, Worker};

#[test]
fn memory_of_ones_own_is_not_followed() {
    let mut own = [1u64, 2];
    let tensor = ContinuousTensor::new(own.as_mut_ptr() as u64, &[2], DataType::Uint64).unwrap();
    let args = TaskArgs::new().inout(tensor);
    let view = TaskArgsView::of(&args);
    let address = tensor.data() + 8;
    assert_eq!(view.get::<u64>(0, 1), Err(AbiError::OutOfReach { index: 0, address }));
    assert_eq!(view.set::<u64>(0, 1, 5), Err(AbiError::OutOfReach { index: 0, address }));
    // SAFETY: it is `own`, which nobody else touches.
    assert_eq!(unsafe { view.slice::<u64>(0) }.unwrap(), [1, 2]);
}

struct Double;

impl Worker for Double {
    fn run(
        &mut self,
        _: u64,
        args: TaskArgsView<'_>,
        _: &CallConfig,
        context: &TaskContext<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        assert!(!context.cancelled() && context.group().is_none() && context.attempt() == 1);
        args.set(0, 0, args.get::<u64>(0, 0)? * 2)?;
        Ok(())
    }
}

#[test]
fn a_call_by_hand_follows_what_its_caller_answers_for() {
    let mut own = [21u64];
    let tensor = ContinuousTensor::new(own.as_mut_ptr() as u64, &[1], DataType::Uint64).unwrap();
    let mut words = [0u64; 6];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    write_blob(&TaskArgs::new().inout(tensor), bytes).unwrap();
    let config = CallConfig::default();
    // SAFETY: the blob names `own`.
    unsafe { Double.run_from_blob(7, bytes, &config) }.unwrap();
    assert_eq!(own, [42]);
    // SAFETY: refused before anything is touched.
    let short = unsafe { Double.run_from_blob(7, &bytes[..40], &config) }.unwrap_err();
    assert!(short.to_string().contains("blob"), "{short}");
    // Not from here on.
    let later = TaskArgs::new().inout(tensor);
    let read = TaskArgsView::of(&later).get::<u64>(0, 0);
    assert!(matches!(read, Err(AbiError::OutOfReach { index: 0, .. })), "{read:?}");
}

#[test]
fn memory_of_an_executor_is_followed_for_its_tasks_alone() {
    let built = Executor::builder().mode(Mode::Thread).workers(1).heap_bytes(1 << 20).build();
    let exec = built.unwrap();
    let cells = exec.buffer::<u64>(4).unwrap();
    let args = TaskArgs::new().inout(&cells);
    let view = TaskArgsView::of(&args);
    assert_eq!(view.set(0, 3, 9u64), Err(AbiError::NotOfATask { index: 0 }));
    assert_eq!(view.get::<u64>(0, 3), Err(AbiError::NotOfATask { index: 0 }));
    // Behind all that is mapped.
    let far = ContinuousTensor::from_raw(cells.address() + (1 << 40), [1, 0, 0, 0, 0], 1, 8);
    let read = TaskArgsView::of(&TaskArgs::new().inout(far)).get::<u64>(0, 0);
    assert!(matches!(read, Err(AbiError::OutOfReach { index: 0, .. })), "{read:?}");
    drop((exec, cells));
    assert!(matches!(view.get::<u64>(0, 3), Err(AbiError::OutOfReach { .. })));
}
