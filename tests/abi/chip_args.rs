//! The argument block of a chip runtime.

use mailring::abi::{
    AbiError, ChipStorageTaskArgs, ContinuousTensor, DataType, TaskArgsView, view_to_chip_storage,
};

use super::{Placed, tensor};

fn tensors(count: usize) -> Vec<ContinuousTensor> {
    (0..count).map(|i| tensor(i as u64 + 1, &[i as u32 + 1], DataType::Uint8)).collect()
}

fn scalars(count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| u64::MAX - i).collect()
}

fn bad(field: &'static str, value: i64, limit: usize) -> AbiError {
    AbiError::BadCount { what: "chip arguments", field, value, limit }
}

#[test]
fn only_what_is_used_is_written() {
    for (t, s) in [(0, 0), (1, 0), (0, 1), (2, 1), (15, 127), (16, 128), (16, 0), (0, 128)] {
        let mut block: ChipStorageTaskArgs = bytemuck::pod_read_unaligned(&[0xa5; 1672]);
        let (tensors, scalars) = (tensors(t), scalars(s));
        view_to_chip_storage(TaskArgsView::from_slices(&tensors, &scalars), &mut block).unwrap();
        let bytes = block.as_bytes();
        assert_eq!(bytes[..40 * t], *bytemuck::cast_slice::<_, u8>(&tensors));
        assert!(bytes[40 * t..640].iter().all(|&byte| byte == 0xa5), "{t} tensors");
        assert_eq!(bytes[640..640 + 8 * s], *bytemuck::cast_slice::<_, u8>(&scalars));
        assert!(bytes[640 + 8 * s..1664].iter().all(|&byte| byte == 0xa5), "{s} scalars");
        assert_eq!(bytes[1664..1668], (t as i32).to_le_bytes());
        assert_eq!(bytes[1668..], (s as i32).to_le_bytes());
        let view = block.view().unwrap();
        assert_eq!((view.tensors(), view.scalars()), (&tensors[..], &scalars[..]));
    }
}

#[test]
fn too_many_are_refused_and_nothing_is_written() {
    for (t, s, says) in [
        (17, 0, "17 tensors are too many, there is room for 16"),
        (100, 129, "100 tensors are too many, there is room for 16"),
        (0, 129, "129 scalars are too many, there is room for 128"),
        (16, 1000, "1000 scalars are too many, there is room for 128"),
    ] {
        let mut block: ChipStorageTaskArgs = bytemuck::pod_read_unaligned(&[0xa5; 1672]);
        let (tensors, scalars) = (tensors(t), scalars(s));
        let view = TaskArgsView::from_slices(&tensors, &scalars);
        let error = view_to_chip_storage(view, &mut block).unwrap_err();
        assert!(error.to_string().starts_with(&format!("chip arguments: {says}")), "{error}");
        assert_eq!(block.as_bytes(), [0xa5; 1672]);
    }
}

#[test]
fn one_by_one() {
    let mut block = ChipStorageTaskArgs::new();
    assert_eq!(block.as_bytes(), [0; 1672]);
    assert_eq!((block.tensors().unwrap().len(), block.scalars()), (0, Ok(&[][..])));
    for t in tensors(16) {
        block.add_tensor(t).unwrap();
    }
    let error = block.add_tensor(tensors(1)[0]).unwrap_err();
    assert!(error.to_string().contains("17 tensors are too many"), "{error}");
    for s in scalars(128) {
        block.add_scalar(s).unwrap();
    }
    let error = block.add_scalar(0).unwrap_err();
    assert!(error.to_string().contains("129 scalars are too many"), "{error}");
    let late = AbiError::TensorAfterScalar { tensor: 16 };
    assert_eq!(block.add_tensor(tensors(1)[0]), Err(late));
    assert_eq!(block.tensors(), Ok(&tensors(16)[..]));
    assert_eq!(block.scalars(), Ok(&scalars(128)[..]));
    assert_eq!(block.tensor(15), Ok(&tensors(16)[15]));
    assert_eq!(block.scalar(127), Ok(u64::MAX - 127));
    let none = |what, index, count| AbiError::OutOfRange { what, index, count };
    assert_eq!(block.tensor(16), Err(none("tensor", 16, 16)));
    assert_eq!(block.scalar(128), Err(none("scalar", 128, 128)));
    block.clear();
    assert_eq!(block.scalar(0), Err(none("scalar", 0, 0)));
    assert_eq!(block.tensor(0), Err(none("tensor", 0, 0)));
    block.add_tensor(tensors(1)[0]).unwrap();
    assert_eq!(block.tensors().unwrap().len(), 1);
    assert!(format!("{block:?}").contains("tensors: Ok"));
}

#[test]
fn bytes_of_another_size_or_place() {
    for have in (0..1672).chain(1673..1690) {
        let placed = Placed::new(&vec![0; have], 0);
        let error = AbiError::WrongSize { what: "chip arguments", need: 1672, have };
        assert_eq!(ChipStorageTaskArgs::from_bytes(placed.bytes()).map(|_| ()), Err(error));
    }
    for shift in 1..8 {
        let placed = Placed::new(&[0; 1672], shift);
        let address = placed.bytes().as_ptr() as usize;
        let error = AbiError::Misaligned { what: "chip arguments", address, align: 8 };
        assert_eq!(ChipStorageTaskArgs::from_bytes(placed.bytes()).map(|_| ()), Err(error));
    }
}

#[test]
fn counts_that_cannot_be() {
    for (at, field, limit) in [(1664, "tensor_count", 16), (1668, "scalar_count", 128)] {
        for value in [-1, limit as i32 + 1, i32::MIN, i32::MAX] {
            let mut bytes = vec![0; 1672];
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let placed = Placed::new(&bytes, 0);
            let block = ChipStorageTaskArgs::from_bytes(placed.bytes()).unwrap();
            let error = bad(field, value.into(), limit);
            assert_eq!(block.view().map(|_| ()), Err(error.clone()));
            let mut copy = *block;
            if at == 1664 {
                assert_eq!(block.tensors(), Err(error.clone()));
                assert_eq!(block.tensor(0), Err(error.clone()));
            } else {
                assert_eq!(block.scalars(), Err(error.clone()));
                assert_eq!(block.scalar(0), Err(error.clone()));
                assert_eq!(copy.add_scalar(1), Err(error.clone()));
            }
            assert_eq!(copy.add_tensor(tensors(1)[0]), Err(error));
            assert_eq!(copy.as_bytes(), bytes, "nothing is changed");
        }
    }
}

#[test]
fn a_tensor_that_cannot_be_is_named() {
    let mut bytes = vec![0; 1672];
    bytes[2 * 40 + 32] = 77;
    bytes[1664] = 3;
    let placed = Placed::new(&bytes, 0);
    let block = ChipStorageTaskArgs::from_bytes(placed.bytes()).unwrap();
    let error = block.view().map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("tensor 2, dtype: 77 is not a data type"), "{error}");
    // One that is not in use does not matter.
    bytes[1664] = 2;
    let placed = Placed::new(&bytes, 0);
    let block = ChipStorageTaskArgs::from_bytes(placed.bytes()).unwrap();
    assert_eq!(block.view().unwrap().tensors().len(), 2);
}
