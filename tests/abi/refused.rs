//! Invalid call configurations and callables, and their errors.

use mailring::abi::{AbiError, ArgDirection, CallConfig, ChipCallable, CoreCallable};
use memmap2::{MmapMut, MmapOptions};

use super::Placed;

#[test]
fn configurations() {
    let read = |bytes: &[u8]| CallConfig::from_bytes(bytes);
    for have in (0..12).chain(13..20) {
        let error = AbiError::WrongSize { what: "call configuration", need: 12, have };
        assert_eq!(read(&vec![0; have]), Err(error));
    }
    let mut bytes = [0; 12];
    assert_eq!(read(&bytes), Ok(CallConfig::new(0, 0)));
    for (at, field, says) in [
        (3, "block_dim", "-2147483648; possible are 0 to 2147483647"),
        (7, "aicpu_thread_num", "-2147483648; possible are 0 to 2147483647"),
        (8, "enable_profiling", "128; possible are 0 to 1"),
        (9, "enable_dump_tensor", "128; possible are 0 to 1"),
    ] {
        bytes[at] = 0x80;
        let placed = Placed::new(&bytes, 3);
        let error = read(placed.bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("call configuration: {field} is {says}"));
        bytes[at] = 0;
    }
}

fn core(bytes: usize) -> CoreCallable {
    CoreCallable::build(&[], &vec![1; bytes]).unwrap()
}

#[test]
fn signatures_and_children_beyond_their_places() {
    let most = [ArgDirection::Out; 16];
    assert_eq!(CoreCallable::build(&most, b"x").unwrap().view().signature(), most);
    assert_eq!(
        ChipCallable::builder("f").signature(&most).build().unwrap().view().signature(),
        most
    );
    let long = [ArgDirection::Out; 17];
    let error = CoreCallable::build(&long, b"x").unwrap_err().to_string();
    assert_eq!(
        error,
        "core callable: 17 signature entries are too many, there is room for 16; use fewer"
    );
    let error = ChipCallable::builder("f").signature(&long).build().unwrap_err().to_string();
    assert!(error.starts_with("chip callable: 17 signature entries are too many"), "{error}");

    let mut builder = ChipCallable::builder("f");
    for id in 0..32 {
        builder = builder.child(id, core(1));
    }
    assert_eq!(builder.build().unwrap().view().children().len(), 32);
    let error = builder.child(32, core(1)).build().unwrap_err().to_string();
    assert_eq!(error, "chip callable: 33 children are too many, there is room for 32; use fewer");
}

#[test]
fn names() {
    let named = |func: &str, config: &str| {
        ChipCallable::builder(func.to_owned()).config_name(config.to_owned()).build()
    };
    let kept = |name: &str| named(name, name).unwrap().view().func_name().into_owned();
    assert_eq!(kept(""), "");
    let long = "x".repeat(200);
    assert_eq!((kept(&long[..63]), kept(&long[..64])), (long[..63].into(), long[..63].into()));
    assert_eq!(kept(&long), long[..63]);
    // A character of two bytes that the end would cut in half goes as a whole.
    let umlauts = "\u{e4}".repeat(40);
    assert_eq!(kept(&umlauts), umlauts[..62]);
    let chip = named(&long, &umlauts).unwrap();
    assert_eq!(chip.view().config_name(), umlauts[..62]);
    assert_eq!(chip.as_bytes()[72 + 63], 0);
    for (func, config, field) in [("a\0b", "", "func_name"), ("", "\0", "config_name")] {
        let error = named(func, config).unwrap_err().to_string();
        assert_eq!(error, format!("chip callable: {field} has a NUL inside; C would end it there"));
    }
}

/// Memory that is only there if it is touched.
fn vast(len: usize) -> MmapMut {
    MmapOptions::new().len(len).no_reserve_swap().map_anon().expect("address space")
}

#[test]
fn more_bytes_than_a_header_counts() {
    let (limit, over) = (u64::from(u32::MAX), 1 << 32);
    let binary = vast(1 << 32);
    let error = CoreCallable::build(&[], &binary).unwrap_err();
    assert_eq!(error, AbiError::TooLarge { what: "core callable", bytes: over, limit });
    let error = ChipCallable::builder("f").binary(&binary[..]).build().unwrap_err();
    assert_eq!(error, AbiError::TooLarge { what: "chip callable", bytes: over, limit });
    // The binary alone would fit.
    let chip = ChipCallable::builder("f").binary(&binary[..u32::MAX as usize]);
    let error = chip.child(1, core(1)).build().unwrap_err();
    let bytes = over + 129;
    assert_eq!(error, AbiError::TooLarge { what: "chip callable", bytes, limit });
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.so");
    std::fs::write(&path, b"\x7fELF").unwrap();
    let core = CoreCallable::from_file(&[ArgDirection::In], &path).unwrap();
    assert_eq!(core.view().binary(), b"\x7fELF");
    let chip = ChipCallable::builder("f").binary_file(&path).unwrap().build().unwrap();
    assert_eq!(chip.view().binary(), b"\x7fELF");

    let none = directory.path().join("none.so");
    let error = CoreCallable::from_file(&[], &none).unwrap_err().to_string();
    assert!(error.contains("none.so") && error.contains("No such file"), "{error}");
    let error = ChipCallable::builder("f").binary_file(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
    let sparse = directory.path().join("sparse.so");
    std::fs::File::create(&sparse).unwrap().set_len(1 << 32).unwrap();
    let error = CoreCallable::from_file(&[], &sparse).unwrap_err();
    let limit = u64::from(u32::MAX);
    assert_eq!(error, AbiError::TooLarge { what: "binary", bytes: 1 << 32, limit });
}
