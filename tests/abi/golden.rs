//! Bytes that were written down by hand, in both directions.

use mailring::abi::{
    ArgDirection, CallConfig, ChipCallable, ChipCallableView, ChipStorageTaskArgs,
    ContinuousTensor, CoreCallable, CoreCallableView, DataType, TaskArgs, TaskArgsView, read_blob,
    view_to_chip_storage, write_blob,
};

use super::{Placed, hex, sparse, tensor};

const TENSOR: &str = "8877665544332211 02000000 03000000 00000000 00000000 00000000
                      02000000 06 00000000000000";

fn the_tensor() -> ContinuousTensor {
    tensor(0x1122_3344_5566_7788, &[2, 3], DataType::Bfloat16)
}

#[test]
fn a_tensor() {
    assert_eq!(bytemuck::bytes_of(&the_tensor()), hex(TENSOR));
    let read: ContinuousTensor = bytemuck::pod_read_unaligned(&hex(TENSOR));
    assert_eq!(read, the_tensor());
    assert_eq!((read.data(), read.shape()), (0x1122_3344_5566_7788, &[2, 3][..]));
    assert_eq!((read.dtype(), read.nbytes()), (Ok(DataType::Bfloat16), Ok(12)));

    // Every field at its widest, and padding that is not zero.
    let bytes = hex("efcdab8967452301 01000000 02000000 03000000 04000000 05000000
                     05000000 08 a1a2a3a4a5a6a7");
    let read: ContinuousTensor = bytemuck::pod_read_unaligned(&bytes);
    assert_eq!(read, tensor(0x0123_4567_89ab_cdef, &[1, 2, 3, 4, 5], DataType::Uint64));
    assert_eq!(bytemuck::bytes_of(&read), bytes, "padding is carried along");
}

#[test]
fn a_blob() {
    let bytes = hex(&format!("01000000 02000000 {TENSOR} bbaa000000000000 0100000000000000"));
    assert_eq!(bytes.len(), 64);
    let args = TaskArgs::new().input(the_tensor()).scalar(0xaabb).scalar(1);
    let mut out = [0xee; 70];
    assert_eq!(write_blob(&args, &mut out), Ok(64));
    assert_eq!((&out[..64], &out[64..]), (&bytes[..], &[0xee; 6][..]));

    let placed = Placed::new(&bytes, 0);
    let view = read_blob(placed.bytes()).unwrap();
    assert_eq!((view.tensors(), view.scalars()), (&[the_tensor()][..], &[0xaabb, 1][..]));
}

#[test]
fn a_call_configuration() {
    let bytes = hex("18000000 03000000 00 00 0000");
    assert_eq!(bytemuck::bytes_of(&CallConfig::default()), bytes);
    let mut config = CallConfig::new(0x0102_0304, 7);
    config.enable_dump_tensor = 1;
    assert_eq!(bytemuck::bytes_of(&config), hex("04030201 07000000 00 01 0000"));
    // Another program's: padding is whatever it was, and so is the alignment.
    let placed = Placed::new(&hex("04030201 07000000 00 01 beef"), 1);
    let read = CallConfig::from_bytes(placed.bytes()).unwrap();
    assert_eq!(read, config);
    assert_eq!(bytemuck::bytes_of(&read), bytemuck::bytes_of(&config), "padding is zeros again");
    let cast: CallConfig = bytemuck::pod_read_unaligned(placed.bytes());
    assert_eq!(cast, config, "padding does not count");
}

#[test]
fn chip_arguments() {
    let bytes = sparse(
        1672,
        &[
            (0, TENSOR),
            (40, "0010000000000000 0a000000 00000000 00000000 00000000 00000000 01000000 05"),
            (640, "bbaa000000000000 0100000000000000 ffffffffffffffff"),
            (1664, "02000000"),
            (1668, "03000000"),
        ],
    );
    let tensors = [the_tensor(), tensor(0x1000, &[10], DataType::Uint8)];
    let scalars = [0xaabb, 1, u64::MAX];
    let mut block = ChipStorageTaskArgs::new();
    view_to_chip_storage(TaskArgsView::from_slices(&tensors, &scalars), &mut block).unwrap();
    assert_eq!(block.as_bytes(), bytes);

    let placed = Placed::new(&bytes, 0);
    let read = ChipStorageTaskArgs::from_bytes(placed.bytes()).unwrap();
    assert_eq!((read.tensors(), read.scalars()), (Ok(&tensors[..]), Ok(&scalars[..])));
    let view = read.view().unwrap();
    assert_eq!((view.tensors(), view.scalars()), (&tensors[..], &scalars[..]));
}

/// IN, OUT, INOUT, SCALAR; the binary `0xdeadbeef`.
const CORE: &[(usize, &str)] = &[
    (0, "01000000 02000000 03000000 00000000"),
    (64, "04000000"),
    (68, "04000000"),
    (128, "deadbeef"),
];
const DIRECTIONS: [ArgDirection; 4] =
    [ArgDirection::In, ArgDirection::Out, ArgDirection::InOut, ArgDirection::Scalar];

#[test]
fn a_core_callable() {
    let mut bytes = sparse(132, CORE);
    let core = CoreCallable::build(&DIRECTIONS, &hex("deadbeef")).unwrap();
    assert_eq!(core.as_bytes(), bytes);
    assert_eq!(core.as_ptr() as usize % 64, 0);
    // Resolved by a runtime, and with bytes in the gap.
    bytes[72..80].copy_from_slice(&hex("8877665544332211"));
    bytes[80..128].fill(0x5a);
    for shift in 0..8 {
        let placed = Placed::new(&bytes, shift);
        let view = CoreCallableView::read(placed.bytes()).unwrap();
        assert_eq!((view.signature(), view.binary()), (&DIRECTIONS[..], &hex("deadbeef")[..]));
        assert_eq!(view.resolved_addr(), 0x1122_3344_5566_7788);
        assert_eq!(view.as_bytes(), bytes);
    }
}

#[test]
fn a_chip_callable() {
    // Storage begins at 468; the binary there; children at 468 + 64 and 468 + 256.
    let bytes = sparse(
        854,
        &[
            (0, "01000000 02000000"),
            (64, "02000000"),
            (68, "10000000"),
            (72, "656e747279"), // "entry"
            (136, "05000000"),
            (140, "07000000 feffffff"),
            (268, "40000000 00010000"),
            (396, "02000000"),
            (400, "636f6e666967"), // "config"
            (464, "06000000"),
            (468, "101112131415161718191a1b1c1d1e1f"),
            (532, "01000000 02000000 03000000 00000000"),
            (532 + 64, "04000000"),
            (532 + 68, "04000000"),
            (532 + 128, "deadbeef"),
            (724 + 68, "02000000"),
            (724 + 128, "cafe"),
        ],
    );
    let chip = ChipCallable::builder("entry")
        .config_name("config")
        .signature(&[ArgDirection::In, ArgDirection::Out])
        .binary((0x10..0x20).collect::<Vec<u8>>())
        .child(7, CoreCallable::build(&DIRECTIONS, &hex("deadbeef")).unwrap())
        .child(-2, CoreCallable::build(&[], &hex("cafe")).unwrap())
        .build()
        .unwrap();
    assert_eq!(chip.as_bytes(), bytes);
    assert_eq!(chip.as_ptr() as usize % 64, 0);
    for shift in 0..8 {
        let placed = Placed::new(&bytes, shift);
        let view = ChipCallableView::read(placed.bytes()).unwrap();
        assert_eq!((&*view.func_name(), &*view.config_name()), ("entry", "config"));
        assert_eq!(view.signature(), [ArgDirection::In, ArgDirection::Out]);
        assert_eq!(view.binary(), hex("101112131415161718191a1b1c1d1e1f"));
        let children: Vec<_> =
            view.children().map(|(id, core)| (id, core.binary().to_vec())).collect();
        assert_eq!(children, [(7, hex("deadbeef")), (-2, hex("cafe"))]);
        assert_eq!(view.child(0).unwrap().1.signature(), DIRECTIONS);
        assert_eq!(view.child(1).unwrap().1.signature(), []);
        assert_eq!((view.child_offset(0), view.child_offset(1)), (Ok(64), Ok(256)));
    }
}
