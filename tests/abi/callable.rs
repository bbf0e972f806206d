//! Reading callables that came from elsewhere.

use mailring::abi::{
    AbiError, ArgDirection, ChipCallable, ChipCallableView, CoreCallable, CoreCallableView,
};

use super::Placed;
use super::walk::{walk_chip, walk_core};

/// Where the fields of a chip callable's header are.
const SIG_COUNT: usize = 64;
const BINARY_SIZE: usize = 68;
const FUNC_NAME: usize = 72;
const FUNC_NAME_LEN: usize = 136;
const OFFSETS: usize = 268;
const CHILD_COUNT: usize = 396;
const CONFIG_NAME_LEN: usize = 464;
const STORAGE: usize = 468;

fn core() -> CoreCallable {
    CoreCallable::build(&[ArgDirection::In, ArgDirection::Out], b"kernel").unwrap()
}

/// Binary 0..10; children at 64..198, 256..390, 448..582.
fn chip() -> ChipCallable {
    let chip = ChipCallable::builder("entry").config_name("config");
    let chip = chip.signature(&[ArgDirection::InOut, ArgDirection::Scalar]).binary(b"0123456789");
    chip.child(1, core()).child(2, core()).child(3, core()).build().unwrap()
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Reads the callable after a change of one number.
fn changed(changes: &[(usize, u32)]) -> Result<usize, AbiError> {
    let mut bytes = chip().as_bytes().to_vec();
    changes.iter().for_each(|&(at, value)| set(&mut bytes, at, value));
    let view = ChipCallableView::read(&bytes)?;
    walk_chip(&bytes, &view);
    Ok(view.as_bytes().len())
}

#[track_caller]
fn refused(changes: &[(usize, u32)], says: &str) {
    let error = changed(changes).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn truncated_anywhere() {
    let (core, chip) = (core(), chip());
    for have in 0..core.as_bytes().len() {
        let error = CoreCallableView::read(&core.as_bytes()[..have]).unwrap_err();
        let (field, need) = if have < 80 { ("the header", 80) } else { ("the binary", 134) };
        assert_eq!(error, AbiError::Truncated { what: "core callable", field, need, have });
    }
    for have in 0..chip.as_bytes().len() {
        let error = ChipCallableView::read(&chip.as_bytes()[..have]).map(|_| ()).unwrap_err();
        match error {
            AbiError::Truncated { have: seen, need, .. } => assert!(seen <= have && seen < need),
            AbiError::ChildPlace { why, .. } => assert_eq!(why, "behind the end of the buffer"),
            AbiError::Entry { what: "child", source, .. } => {
                assert!(matches!(*source, AbiError::Truncated { .. }), "{have} bytes: {source:?}");
            }
            other => panic!("{have} bytes: {other:?}"),
        }
    }
    // What lies behind is not looked at.
    let longer = [core.as_bytes(), &[0xff; 100]].concat();
    assert_eq!(CoreCallableView::read(&longer).unwrap().as_bytes(), core.as_bytes());
    let longer = [chip.as_bytes(), &[0xff; 100]].concat();
    assert_eq!(ChipCallableView::read(&longer).unwrap().as_bytes(), chip.as_bytes());
}

#[test]
fn counts() {
    for at in [SIG_COUNT, STORAGE + 64 + SIG_COUNT] {
        refused(&[(at, 17)], "sig_count is 17; possible are 0 to 16");
        refused(&[(at, u32::MAX)], "sig_count is -1");
        refused(&[(at, 1 << 31)], "sig_count is -2147483648");
        assert!(changed(&[(at, 0)]).is_ok() && changed(&[(at, 16)]).is_ok());
    }
    refused(&[(STORAGE + 256 + SIG_COUNT, 99)], "child 1: core callable: sig_count is 99");
    refused(&[(CHILD_COUNT, 33)], "chip callable: child_count is 33; possible are 0 to 32");
    refused(&[(CHILD_COUNT, u32::MAX)], "child_count is -1");
    assert_eq!(changed(&[(CHILD_COUNT, 1)]), Ok(STORAGE + 198));
    assert_eq!(changed(&[(CHILD_COUNT, 0)]), Ok(STORAGE + 10));
}

#[test]
fn directions() {
    refused(&[(4, 4)], "signature entry 1: 4 is not an argument direction");
    refused(&[(0, u32::MAX)], "signature entry 0: -1 is not an argument direction");
    refused(&[(STORAGE + 448, 9)], "child 2: signature entry 0: 9 is not an argument direction");
    assert!(changed(&[(8, 4)]).is_ok(), "entries beyond the count do not matter");
}

#[test]
fn sizes() {
    refused(&[(BINARY_SIZE, 11_000)], "the binary needs 11468 bytes");
    refused(&[(BINARY_SIZE, u32::MAX)], "chip callable: the binary needs");
    refused(&[(STORAGE + 448 + BINARY_SIZE, 7)], "child 2: core callable: the binary needs 135");
    refused(&[(STORAGE + 448 + BINARY_SIZE, u32::MAX)], "child 2: core callable: the binary");
    assert_eq!(changed(&[(BINARY_SIZE, 64)]), Ok(STORAGE + 582), "up to the first child");
    assert_eq!(changed(&[(STORAGE + 64 + BINARY_SIZE, 64)]), Ok(STORAGE + 582));
}

#[test]
fn places() {
    let inside = "inside the binary or another child";
    refused(&[(OFFSETS, 65)], "child 0 begins at offset 65, which is not a multiple of 64");
    refused(&[(OFFSETS, 4)], "not a multiple of 64");
    refused(&[(OFFSETS, 0)], "child 0");
    refused(&[(OFFSETS + 8, 1 << 20)], "child 2 begins at offset 1048576, behind the end");
    refused(&[(OFFSETS + 8, u32::MAX - 63)], "behind the end of the buffer");
    refused(&[(OFFSETS + 4, 64)], inside);
    refused(&[(OFFSETS, 256), (OFFSETS + 4, 256)], inside);
    refused(&[(BINARY_SIZE, 65)], "child 0 begins at offset 64, inside the binary");
    refused(&[(STORAGE + 64 + BINARY_SIZE, 65)], "child 1 begins at offset 256, inside");
    // Their order is free.
    assert_eq!(changed(&[(OFFSETS, 256), (OFFSETS + 4, 64)]), Ok(STORAGE + 582));
}

#[test]
fn names() {
    for (at, field) in [(FUNC_NAME_LEN, "func_name"), (CONFIG_NAME_LEN, "config_name")] {
        refused(&[(at, 64)], &format!("{field} has no NUL where its length ends"));
        refused(&[(at, 65)], &format!("{field} is longer than the 64 bytes of its place"));
        refused(&[(at, u32::MAX)], &format!("{field} is longer"));
        refused(&[(at, 4)], &format!("{field} has no NUL where its length ends"));
        refused(&[(at, 7)], &format!("{field} has a NUL before its length ends"));
    }
    let mut bytes = chip().as_bytes().to_vec();
    bytes[FUNC_NAME..FUNC_NAME + 64].fill(b'x');
    set(&mut bytes, FUNC_NAME_LEN, 63);
    let error = ChipCallableView::read(&bytes).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("func_name has no NUL where its length ends"), "{error}");
    bytes[FUNC_NAME + 63] = 0;
    assert_eq!(ChipCallableView::read(&bytes).unwrap().func_name(), "x".repeat(63));
    // Cut inside a character by somebody who counts bytes.
    bytes[FUNC_NAME + 62] = 0xc3;
    let cut = ChipCallableView::read(&bytes).unwrap();
    assert_eq!(cut.func_name(), format!("{}\u{fffd}", "x".repeat(62)));
    // Behind the NUL there may be anything.
    bytes[FUNC_NAME..FUNC_NAME + 2].copy_from_slice(b"f\0");
    set(&mut bytes, FUNC_NAME_LEN, 1);
    assert_eq!(ChipCallableView::read(&bytes).unwrap().func_name(), "f");
}

/// Every byte before the binaries, with values that sit at edges.
#[test]
fn any_byte_of_a_header() {
    let original = chip().as_bytes().to_vec();
    for at in 0..STORAGE + 448 + 128 {
        for value in [0, 1, 2, 16, 17, 32, 33, 63, 64, 65, 127, 128, 255] {
            let mut bytes = original.clone();
            bytes[at] = value;
            if let Ok(view) = ChipCallableView::read(&bytes) {
                walk_chip(&bytes, &view);
            }
        }
    }
}

#[test]
fn by_address_alone() {
    let (core, chip) = (core(), chip());
    for shift in 0..8 {
        let placed = Placed::new(core.as_bytes(), shift);
        // SAFETY: a whole callable lies there and stays as it is.
        let view = unsafe { CoreCallableView::from_ptr(placed.bytes().as_ptr()) }.unwrap();
        assert_eq!(view.as_bytes().as_ptr_range(), placed.bytes().as_ptr_range());
        walk_core(placed.bytes(), &view);
        let placed = Placed::new(chip.as_bytes(), shift);
        // SAFETY: as above.
        let view = unsafe { ChipCallableView::from_ptr(placed.bytes().as_ptr()) }.unwrap();
        assert_eq!(view.as_bytes().as_ptr_range(), placed.bytes().as_ptr_range());
        walk_chip(placed.bytes(), &view);
    }
    let only = ChipCallable::builder("f").binary(b"abc").build().unwrap();
    // SAFETY: as above.
    let view = unsafe { ChipCallableView::from_ptr(only.as_ptr()) }.unwrap();
    assert_eq!((view.binary(), view.as_bytes().len()), (&b"abc"[..], STORAGE + 3));

    // SAFETY: null is asked for.
    let error = unsafe { CoreCallableView::from_ptr(std::ptr::null()) }.unwrap_err();
    assert_eq!(error.to_string(), "core callable: the pointer is null");
    // SAFETY: as above.
    let error = unsafe { ChipCallableView::from_ptr(std::ptr::null()) }.unwrap_err();
    assert_eq!(error.to_string(), "chip callable: the pointer is null");
    // An invalid count is found before anything is looked for there.
    let mut bytes = chip.as_bytes().to_vec();
    set(&mut bytes, CHILD_COUNT, 1000);
    // SAFETY: the header is there; it is all that is read.
    let error = unsafe { ChipCallableView::from_ptr(bytes.as_ptr()) }.unwrap_err();
    assert!(error.to_string().contains("child_count is 1000"), "{error}");
}

/// Owned ones are views of their own bytes.
#[test]
fn owned_and_read_are_the_same() {
    let (core, chip) = (core(), chip());
    let read = CoreCallableView::read(core.as_bytes()).unwrap();
    assert_eq!(format!("{:?}", core.view()), format!("{read:?}"));
    let read = ChipCallableView::read(chip.as_bytes()).unwrap();
    assert_eq!(format!("{:?}", chip.view()), format!("{read:?}"));
    let copy = chip.clone();
    assert_eq!(copy.as_bytes(), chip.as_bytes());
    assert_ne!(copy.as_ptr(), chip.as_ptr());
}
