//! The argument blob: what is accepted, and how the rest is refused.

use mailring::abi::{
    AbiError, ContinuousTensor, DataType, TaskArgs, blob_len, read_blob, write_blob,
};

use super::{Placed, tensor};

fn blob(args: &TaskArgs) -> Vec<u8> {
    let mut bytes = vec![0; args.blob_len()];
    assert_eq!(write_blob(args, &mut bytes), Ok(bytes.len()));
    bytes
}

fn two() -> TaskArgs {
    let first = tensor(0x1000, &[2, 3], DataType::Float32);
    let second = tensor(0x2000, &[4], DataType::Int64);
    TaskArgs::new().input(first).output(second).scalar(5).scalar(6).scalar(7)
}

/// Reads the blob of [`two`] after a change.
fn changed(change: impl FnOnce(&mut [u8])) -> Result<(usize, usize), AbiError> {
    let mut bytes = blob(&two());
    change(&mut bytes);
    let placed = Placed::new(&bytes, 0);
    read_blob(placed.bytes()).map(|view| (view.tensors().len(), view.scalars().len()))
}

#[test]
fn lengths() {
    assert_eq!((blob_len(0, 0), blob_len(1, 2), blob_len(16, 128)), (8, 64, 1672));
    assert_eq!(blob_len(usize::MAX, 0), usize::MAX);
    assert_eq!(blob_len(usize::MAX / 40, usize::MAX / 8), usize::MAX);
}

#[test]
fn an_empty_blob() {
    assert_eq!(blob(&TaskArgs::new()), [0; 8]);
    let placed = Placed::new(&[0; 8], 0);
    let view = read_blob(placed.bytes()).unwrap();
    assert!(view.tensors().is_empty() && view.scalars().is_empty());
}

#[test]
fn truncated_anywhere() {
    let bytes = blob(&two());
    assert_eq!(bytes.len(), 8 + 80 + 24);
    for have in 0..bytes.len() {
        let placed = Placed::new(&bytes[..have], 0);
        let (field, need) = match have {
            0..8 => ("the counts", 8),
            8..88 => ("tensors", 88),
            _ => ("scalars", 112),
        };
        let error = AbiError::Truncated { what: "blob", field, need, have };
        assert_eq!(read_blob(placed.bytes()).map(|_| ()), Err(error));
        let mut out = vec![0xee; have];
        let error = AbiError::Truncated { what: "blob", field: "the whole", need: 112, have };
        assert_eq!(write_blob(&two(), &mut out), Err(error));
        assert!(out.iter().all(|&byte| byte == 0xee), "nothing is written");
    }
    // What lies behind is not looked at.
    let longer = Placed::new(&[&bytes[..], &[0xff; 9]].concat(), 0);
    assert_eq!(read_blob(longer.bytes()).unwrap().scalars(), [5, 6, 7]);
}

#[test]
fn misaligned() {
    for shift in 1..8 {
        let placed = Placed::new(&blob(&two()), shift);
        let address = placed.bytes().as_ptr() as usize;
        let error = read_blob(placed.bytes()).map(|_| ()).unwrap_err();
        assert_eq!(error, AbiError::Misaligned { what: "blob", address, align: 8 });
        assert!(error.to_string().contains("not aligned to 8 bytes"), "{error}");
    }
}

#[test]
fn counts_that_cannot_be() {
    for (at, field, limit) in [(0, "tensor_count", 52_428), (4, "scalar_count", 262_144)] {
        for value in [-1, i32::MIN, i32::MAX, limit as i32 + 1] {
            let error = changed(|bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()));
            let value = value.into();
            let expected = AbiError::BadCount { what: "blob", field, value, limit };
            assert_eq!(error, Err(expected));
        }
        // The largest that can be is only too long for this buffer.
        let error =
            changed(|bytes| bytes[at..at + 4].copy_from_slice(&(limit as i32).to_le_bytes()));
        assert!(matches!(error, Err(AbiError::Truncated { .. })), "{error:?}");
    }
}

#[test]
fn padding_is_not_looked_at() {
    for tensor in 0..2 {
        let from = 8 + tensor * 40 + 33;
        assert_eq!(changed(|bytes| bytes[from..from + 7].fill(0xff)), Ok((2, 3)));
    }
    // Nor are shapes beyond the dimensions.
    assert_eq!(changed(|bytes| bytes[8 + 16..8 + 28].fill(0xff)), Ok((2, 3)));
}

#[test]
fn a_tensor_that_cannot_be_is_named() {
    // (offset in the descriptor, bytes there, field, part of the message)
    let wrong: [(usize, &[u8], &str, &str); 5] = [
        (28, &[6, 0, 0, 0], "ndims", "at most 5 dimensions, not 6"),
        (28, &[0xff; 4], "ndims", "not 4294967295"),
        (32, &[9], "dtype", "9 is not a data type"),
        (8, &[0xff; 20], "shapes", "64 bits can count"),
        (0, &[0xff; 8], "data", "end of the address space"),
    ];
    for index in 0..2 {
        for (at, change, named, says) in wrong {
            let from = 8 + index * 40 + at;
            let error = changed(|bytes| {
                bytes[from..from + change.len()].copy_from_slice(change);
                if named == "shapes" {
                    bytes[8 + index * 40 + 28] = 5;
                }
            });
            let error = error.unwrap_err();
            let AbiError::Tensor { index: found, field, .. } = error else { panic!("{error:?}") };
            assert_eq!((found, field), (index, named));
            let text = error.to_string();
            assert!(text.starts_with(&format!("tensor {index}, {named}: ")), "{text}");
            assert!(text.contains(says), "{text}");
        }
    }
}

#[test]
fn more_than_any_submit_takes() {
    let mut args = TaskArgs::new();
    (0..262_145).for_each(|scalar| _ = args.add_scalar(scalar));
    let mut out = vec![0; args.blob_len()];
    let error = write_blob(&args, &mut out).unwrap_err();
    assert!(error.to_string().contains("262145 scalars are too many"), "{error}");
    let mut args = TaskArgs::new();
    let tensor: ContinuousTensor = tensor(0, &[1], DataType::Int8);
    for _ in 0..52_429 {
        args.add_tensor(tensor, Default::default()).unwrap();
    }
    let error = write_blob(&args, &mut out).unwrap_err();
    assert!(error.to_string().contains("52429 tensors are too many"), "{error}");
}
