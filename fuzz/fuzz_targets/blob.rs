//! Any bytes as an argument blob, as a chip runtime's argument block, and as a configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailring::abi::{
    CallConfig, ChipStorageTaskArgs, TaskArgs, TaskArgsView, TensorArgType, read_blob,
    view_to_chip_storage, write_blob,
};

fuzz_target!(|data: &[u8]| {
    let mut words = vec![0u64; data.len().div_ceil(8)];
    let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..data.len()];
    bytes.copy_from_slice(data);
    if let Ok(view) = read_blob(bytes) {
        there_and_back(bytes, view);
    }
    // The counts stand last in a block: here they come first, so that short inputs reach them.
    let mut block = [0u64; 1672 / 8];
    let block: &mut [u8] = bytemuck::cast_slice_mut(&mut block);
    if let Some((counts, rest)) = data.split_first_chunk::<8>() {
        block[1664..].copy_from_slice(counts);
        let len = rest.len().min(1664);
        block[..len].copy_from_slice(&rest[..len]);
    }
    let block = ChipStorageTaskArgs::from_bytes(block).expect("size and alignment are right");
    if let Ok(view) = block.view() {
        assert!(view.tensors().len() <= 16 && view.scalars().len() <= 128);
        same_block(view);
    }
    if let Ok(config) = CallConfig::from_bytes(&data[..data.len().min(12)]) {
        assert!(config.block_dim >= 0 && config.aicpu_thread_num >= 0);
        assert_eq!(bytemuck::bytes_of(&config)[..10], data[..10]);
    }
});

/// What was accepted is written again, to the same bytes.
fn there_and_back(bytes: &[u8], view: TaskArgsView<'_>) {
    let mut args = TaskArgs::new();
    for tensor in view.tensors() {
        assert!(tensor.shape().len() <= 5 && tensor.dtype().is_ok());
        assert_eq!(
            tensor.nbytes().ok(),
            tensor.elements().ok().zip(tensor.dtype().ok()).map(|(n, t)| n * t.size() as u64)
        );
        args.add_tensor(*tensor, TensorArgType::Input).expect("no scalar yet");
    }
    for &scalar in view.scalars() {
        args.add_scalar(scalar);
    }
    let mut again = vec![0; args.blob_len()];
    let len = write_blob(&args, &mut again).expect("it was read from as many bytes");
    assert_eq!(again, bytes[..len]);
    if view.tensors().len() <= 16 && view.scalars().len() <= 128 {
        same_block(view);
    } else {
        let mut block = ChipStorageTaskArgs::new();
        assert!(view_to_chip_storage(view, &mut block).is_err());
        assert_eq!(block.as_bytes(), [0; 1672]);
    }
}

fn same_block(view: TaskArgsView<'_>) {
    let mut block = ChipStorageTaskArgs::new();
    view_to_chip_storage(view, &mut block).expect("there is room");
    let back = block.view().expect("it was checked before");
    assert_eq!((back.tensors(), back.scalars()), (view.tensors(), view.scalars()));
}
