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

    entry("plain", b"\x01t\0", b"\x2a\x01")?;
    let call = [b"\x03tag\x01\x04a::f\x012".as_slice(), &[7; 32]].concat();
    entry("served", &call, &[0; 100])?;
    let status = r#"{"kind":"flow","program":"p","uptime":61.5,"totals":{"submitted":3},"gauges":[
        {"name":"memory","used":95.0,"limit":100.0,"unit":"bytes"}],"queues":[{"name":"ready","depth":2}],
        "workers":[{"name":"cpu/0","pid":42,"state":"running","work":{"function":"f","task":7,"seconds":2.5}}],
        "waiting":[{"function":"g","reason":"order","count":5}]}"#;
    page("empty", "{}")?;
    page("flow", status)?;
    let log = LOG.trim_start();
    seed("profile_log", "run", log.as_bytes())?;
    seed("profile_log", "two_runs", [log, log].concat().as_bytes())?;
    let (_, without_header) = log.split_once('\n').unwrap_or_default();
    seed("profile_log", "no_header", without_header.as_bytes())?;
    Ok(())
}

/// A line of most types.
const LOG: &str = r#"
{"type":"run","ts":1.0,"version":1,"run":"5f0c9a1be2d7","pid":7,"program":"p","mode":"process","workers":[{"worker_id":"cpu/0","node_id":"cpu","resources":{"cpus":1.0}}],"mailring":"0.1.0"}
{"type":"submitted","ts":1.1,"call_id":"a","func":"f","caller":null,"resources":{"cpus":1.0},"obj_ref_deps":[],"tag":"t","is_remote":true,"kind":"task"}
{"type":"submitted","ts":1.1,"call_id":"b","func":"g","caller":"a","obj_ref_deps":["a"],"is_remote":true}
{"type":"ready","ts":1.2,"call_id":"a"}
{"type":"waiting","ts":1.2,"call_id":"a","for":"resources","what":["cpus"]}
{"type":"dispatch","ts":1.3,"call_id":"a","func":"f","worker_id":"cpu/0","node_id":"cpu","attempt":1,"pid":8}
{"type":"worker_died","ts":1.4,"worker_id":"cpu/0","node_id":"cpu","pid":8,"how":"killed","signal":9}
{"type":"failed","ts":1.4,"call_id":"a","func":"f","attempt":1,"kind":"worker_died","message":"m","final":false}
{"type":"retried","ts":1.4,"call_id":"a","attempt":2,"reason":"worker_died"}
{"type":"dispatch","ts":1.5,"call_id":"a","func":"f","worker_id":"cpu/0","attempt":2,"pid":9}
{"type":"setup_done","ts":1.6,"call_id":"a","attempt":2}
{"type":"local_start","ts":1.65,"call_id":"l","func":"h","worker_id":"cpu/0","pid":9,"caller":"a"}
{"type":"local_end","ts":1.7,"call_id":"l","func":"h","exec_time_s":0.05,"caller":"a"}
{"type":"complete","ts":1.8,"call_id":"a","func":"f","exec_time_s":0.2,"attempt":2,"bytes_in":3,"bytes_out":4,"extra":{"k":1}}
{"type":"bypassed","ts":1.8,"call_id":"b","func":"g","provider":"file"}
{"type":"served","ts":1.8,"call_id":"c","func":"g","from":"cache","tag":"t"}
{"type":"cancelled","ts":1.9,"call_id":"b","func":"g","attempt":0,"by":"user"}
{"type":"lost","ts":1.9,"events":2}
{"type":"step","ts":1.9,"worker_id":"cpu/0","call_id":"a","n":1}
{"type":"run_end","ts":2.0,"run":"5f0c9a1be2d7","totals":{"submitted":2,"completed":1},"seconds":1.0}
"#;

/// A file of the cache. The target puts the checksum right.
fn entry(name: &str, head: &[u8], value: &[u8]) -> Result<(), Box<dyn Error>> {
    let (head_len, value_len) =
        ((head.len() as u32).to_le_bytes(), (value.len() as u64).to_le_bytes());
    let bytes = [b"mrcache1", &head_len[..], &value_len, &[0; 32], head, value].concat();
    seed("cache_file", name, &bytes)
}

/// A page of live counters with one text. The target puts the checksum right.
fn page(name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let capacity = text.len().next_multiple_of(8);
    let header = [u64::from_le_bytes(*b"mailpage"), 1, 1, 0, capacity as u64, 0, 0, 0];
    let half = [2, text.len() as u64, 0];
    let mut bytes: Vec<u8> =
        header.iter().chain(&half).flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(8 * (8 + 2 * 3) + 2 * capacity, 0);
    seed("live_page", name, &bytes)
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
