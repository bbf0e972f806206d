//! Writes the inputs that fuzzing begins with to `seeds/TARGET/`, beside this file.

use std::error::Error;
use std::fs;
use std::path::Path;

use mailring::abi::{
    ArgDirection, CallConfig, ChipCallable, ContinuousTensor, CoreCallable, DataType, TaskArgs,
    write_blob,
};

fn main() -> Result<(), Box<dyn Error>> {
    let tensor = |shape: &[u32], dtype| ContinuousTensor::new(0x1000, shape, dtype);
    let small = tensor(&[2, 3], DataType::Bfloat16)?;
    let wide = tensor(&[1, 2, 3, 4, 5], DataType::Uint64)?;
    blob("empty", &TaskArgs::new())?;
    blob("scalars", &TaskArgs::new().scalar(1).scalar(u64::MAX))?;
    blob("tensor", &TaskArgs::new().input(small))?;
    blob("both", &TaskArgs::new().input(small).output(wide).scalar(0xaabb).scalar(1))?;
    let many = (0..17).fold(TaskArgs::new(), |args, _| args.input(small));
    blob("too_many_for_a_chip", &many)?;
    seed("blob", "configuration", bytemuck::bytes_of(&CallConfig::default()))?;

    let core = CoreCallable::build(&[ArgDirection::In, ArgDirection::Out], b"core")?;
    seed("callable", "core", core.as_bytes())?;
    let chip = ChipCallable::builder("entry").config_name("config").signature(&ArgDirection::ALL);
    let alone = chip.clone().binary(b"orchestration").build()?;
    seed("callable", "chip_alone", alone.as_bytes())?;
    let bare = ChipCallable::builder("").child(0, CoreCallable::build(&[], &[])?).build()?;
    seed("callable", "chip_bare", bare.as_bytes())?;
    let full = chip.binary(b"orchestration").child(1, core.clone()).child(-2, core).build()?;
    seed("callable", "chip_children", full.as_bytes())?;

    // What follows the bytes says what they are: MessagePack, a text, a path, numbers by their type.
    seed("values", "tree", b"\x81\xa5Named\x92\xa1n\x92\xa4Leaf\x81\xa6Number\x05\x01")?;
    seed("values", "tree_of_maps", b"\x81\xa5Named\x82\xa4name\xa1n\xa3all\x90\x01")?;
    seed("values", "flat", b"\x83\xa4name\xa1n\xa1x\xc3\xa1y\x92\x01\xcb\x3f\xf8\0\0\0\0\0\0\x01")?;
    seed("values", "internal", b"\x82\xa4kind\xa6Struct\xa1a\xd4\x01\x01\x01")?;
    seed(
        "values",
        "mixed",
        b"\x97\x01\xff\xa1c\x81\x05\xc4\x02ab\x93\x01\x02\x03\xc0\xca\0\0\0\0\x01",
    )?;
    seed("values", "text", b"text\x02")?;
    seed("values", "path", b"/a/path\xff\x03")?;
    seed("values", "one", &[1, 2, 3, 4, 0x20 | 2])?;
    seed("values", "many", &[[0u8; 32].as_slice(), &[0x40 | 11]].concat())?;
    Ok(())
}

fn blob(name: &str, args: &TaskArgs) -> Result<(), Box<dyn Error>> {
    let mut bytes = vec![0; args.blob_len()];
    write_blob(args, &mut bytes)?;
    seed("blob", name, &bytes)
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(name), bytes)?)
}
