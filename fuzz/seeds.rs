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
