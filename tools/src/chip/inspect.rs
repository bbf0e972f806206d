//! `mailring chip inspect`: reads a callable, checks it, and says what is in it.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use mailring::abi::{AbiError, ArgDirection, ChipCallableView, CoreCallableView};
use serde_json::{Value, json};

use super::signature_text;
use crate::cli::{Failure, Json};
use crate::output;

/// First bytes of a binary that are shown.
const SHOWN: usize = 8;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The callable
    #[arg(value_name = "FILE")]
    callable: PathBuf,

    /// It is a core callable: a signature and a binary, without names and children
    #[arg(long)]
    core: bool,

    #[command(flatten)]
    json: Json,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let name = options.callable.display();
    let bytes =
        std::fs::read(&options.callable).map_err(Failure::of(&format!("reading {name}")))?;
    let found = if options.core { Found::core(&bytes) } else { Found::chip(&bytes) };
    let found = found.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
    output::deliver(&found.text(), &found.json(), &options.json)
}

/// What a chip callable is shown as.
#[cfg(test)]
pub(super) fn text_of(bytes: &[u8]) -> Result<String, AbiError> {
    Found::chip(bytes).map(|found| found.text())
}

/// A callable, read and checked.
struct Found<'a> {
    file: usize,
    /// Bytes of the file that are the callable.
    bytes: usize,
    signature: Vec<ArgDirection>,
    binary: Binary<'a>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Chip { func_name: String, config_name: String, children: Vec<Child<'a>> },
    Core { resolved_addr: u64 },
}

struct Child<'a> {
    func_id: i32,
    offset: u32,
    bytes: usize,
    signature: Vec<ArgDirection>,
    binary: Binary<'a>,
    resolved_addr: u64,
}

struct Binary<'a>(&'a [u8]);

impl<'a> Found<'a> {
    fn chip(file: &'a [u8]) -> Result<Self, AbiError> {
        let view = ChipCallableView::read(file)?;
        let mut children = Vec::new();
        for (index, (func_id, core)) in view.children().enumerate() {
            children.push(Child {
                func_id,
                offset: view.child_offset(index)?,
                bytes: core.as_bytes().len(),
                signature: core.signature().to_vec(),
                binary: Binary(core.binary()),
                resolved_addr: core.resolved_addr(),
            });
        }
        Ok(Self {
            file: file.len(),
            bytes: view.as_bytes().len(),
            signature: view.signature().to_vec(),
            binary: Binary(view.binary()),
            kind: Kind::Chip {
                func_name: view.func_name().into_owned(),
                config_name: view.config_name().into_owned(),
                children,
            },
        })
    }

    fn core(file: &'a [u8]) -> Result<Self, AbiError> {
        let view = CoreCallableView::read(file)?;
        Ok(Self {
            file: file.len(),
            bytes: view.as_bytes().len(),
            signature: view.signature().to_vec(),
            binary: Binary(view.binary()),
            kind: Kind::Core { resolved_addr: view.resolved_addr() },
        })
    }

    /// Bytes of the file that follow the callable.
    fn behind(&self) -> usize {
        self.file - self.bytes
    }

    fn json(&self) -> Value {
        let names = |signature: &[ArgDirection]| -> Vec<_> {
            signature.iter().map(|direction| direction.name()).collect()
        };
        let mut figures = json!({
            "bytes": self.bytes,
            "bytes_behind": self.behind(),
            "signature": names(&self.signature),
            "binary": self.binary.json(),
        });
        let more = match &self.kind {
            Kind::Core { resolved_addr } => {
                json!({ "kind": "core", "resolved_addr": resolved_addr })
            }
            Kind::Chip { func_name, config_name, children } => {
                let children: Vec<_> = children
                    .iter()
                    .map(|child| {
                        json!({
                            "func_id": child.func_id,
                            "offset": child.offset,
                            "bytes": child.bytes,
                            "signature": names(&child.signature),
                            "binary": child.binary.json(),
                            "resolved_addr": child.resolved_addr,
                        })
                    })
                    .collect();
                json!({
                    "kind": "chip",
                    "func_name": func_name,
                    "config_name": config_name,
                    "children": children,
                })
            }
        };
        if let (Some(figures), Value::Object(more)) = (figures.as_object_mut(), more) {
            figures.extend(more);
        }
        figures
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let kind = if matches!(self.kind, Kind::Core { .. }) { "core" } else { "chip" };
        let behind = match self.behind() {
            0 => String::new(),
            more => format!(" (and {more} more behind it, which are no part of it)"),
        };
        writeln!(out, "{kind} callable, {} bytes{behind}", self.bytes)?;
        writeln!(out)?;
        if let Kind::Chip { func_name, config_name, .. } = &self.kind {
            writeln!(out, "  function   {}", shown_name(func_name))?;
            writeln!(out, "  config     {}", shown_name(config_name))?;
        }
        writeln!(out, "  signature  {}", signature_text(&self.signature))?;
        writeln!(out, "  binary     {}", self.binary.text())?;
        match &self.kind {
            Kind::Core { resolved_addr } => writeln!(out, "  resolved   {resolved_addr:#x}"),
            Kind::Chip { children, .. } => write_children(out, children),
        }
    }
}

fn write_children(out: &mut String, children: &[Child<'_>]) -> std::fmt::Result {
    writeln!(out, "  children   {}", children.len())?;
    if children.is_empty() {
        return Ok(());
    }
    let signatures: Vec<_> = children.iter().map(|c| signature_text(&c.signature)).collect();
    let wide = signatures.iter().map(String::len).max().unwrap_or(0).max("signature".len());
    writeln!(out)?;
    writeln!(
        out,
        "  {:>11}  {:>10}  {:>10}  {:<wide$}  binary",
        "func id", "offset", "bytes", "signature"
    )?;
    for (child, signature) in children.iter().zip(signatures) {
        let Child { func_id, offset, bytes, binary, resolved_addr, .. } = child;
        let resolved = match resolved_addr {
            0 => String::new(),
            address => format!(", resolved to {address:#x}"),
        };
        let binary = binary.text();
        writeln!(
            out,
            "  {func_id:>11}  {offset:>10}  {bytes:>10}  {signature:<wide$}  {binary}{resolved}"
        )?;
    }
    Ok(())
}

/// A name that came from a file: control characters must not reach a terminal.
fn shown_name(name: &str) -> String {
    if name.is_empty() { "-".to_owned() } else { name.escape_debug().to_string() }
}

impl Binary<'_> {
    fn begins(&self) -> String {
        let first = self.0.iter().take(SHOWN).map(|byte| format!("{byte:02x}"));
        first.collect::<Vec<_>>().join(" ")
    }

    /// FNV-1a, 64 bits: tells whether two binaries are the same, and nothing more.
    fn hash(&self) -> u64 {
        self.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn is_elf(&self) -> bool {
        self.0.starts_with(b"\x7fELF")
    }

    fn text(&self) -> String {
        match self.0.len() {
            0 => "none".to_owned(),
            bytes => {
                let what = if self.is_elf() { "ELF, " } else { "" };
                format!("{what}{bytes} bytes, {} .., fnv64 {:016x}", self.begins(), self.hash())
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "bytes": self.0.len(),
            "begins": self.begins(),
            "fnv64": format!("{:016x}", self.hash()),
            "elf": self.is_elf(),
        })
    }
}

#[cfg(test)]
mod tests {
    use mailring::abi::{ChipCallable, CoreCallable};

    use super::*;

    fn example() -> ChipCallable {
        let child = CoreCallable::build(&[ArgDirection::In, ArgDirection::Out], b"core").unwrap();
        let chip = ChipCallable::builder("run\x1b[2J").config_name("setup");
        let chip = chip.signature(&[ArgDirection::InOut, ArgDirection::Scalar]);
        chip.binary(b"\x7fELF and so on").child(-7, child).build().unwrap()
    }

    #[test]
    fn everything_in_a_chip_callable_is_shown() {
        let chip = example();
        let text = Found::chip(chip.as_bytes()).expect("a callable").text();
        for part in [
            "chip callable, 664 bytes\n",
            "function   run\\u{1b}[2J\n",
            "config     setup\n",
            "signature  inout,scalar\n",
            "binary     ELF, 14 bytes, 7f 45 4c 46 20 61 6e 64 .., fnv64 ",
            "children   1\n",
            "         -7          64         132  in,out     4 bytes, 63 6f 72 65 .., fnv64 ",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn figures_for_scripts() {
        let chip = example();
        let bytes = [chip.as_bytes(), b"more"].concat();
        let found = Found::chip(&bytes).expect("a callable").json();
        assert_eq!(found["bytes"], 664);
        assert_eq!(found["bytes_behind"], 4);
        assert_eq!(found["func_name"], "run\x1b[2J");
        assert_eq!(found["signature"][0], "INOUT");
        assert_eq!(found["children"][0]["func_id"], -7);
        assert_eq!(found["children"][0]["offset"], 64);
        // The published value of the empty input's hash is the offset basis.
        assert_eq!(format!("{:016x}", Binary(b"").hash()), "cbf29ce484222325");
        assert_eq!(format!("{:016x}", Binary(b"a").hash()), "af63dc4c8601ec8c");
    }

    #[test]
    fn a_core_callable_is_read_as_one() {
        let core = CoreCallable::build(&[ArgDirection::Out], b"code").unwrap();
        let found = Found::core(core.as_bytes()).expect("a callable");
        let text = found.text();
        assert!(text.starts_with("core callable, 132 bytes\n"), "{text}");
        assert!(text.contains("signature  out\n") && text.contains("resolved   0x0\n"), "{text}");
        assert_eq!(found.json()["kind"], "core");
    }

    #[test]
    fn impossible_bytes_name_the_field() {
        let good = example().as_bytes().to_vec();
        let spoilt = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let found = Found::chip(&bytes);
            found.err().unwrap_or_else(|| panic!("{value} at {at} was accepted")).to_string()
        };
        for (at, value, field) in [
            (0, 9, "signature entry 0"),
            (64, 17, "sig_count"),
            (68, u32::MAX, "the binary"),
            (136, 64, "func_name"),
            (268, 65, "child 0"),
            (396, 33, "child_count"),
            (464, 70, "config_name"),
            (468 + 64 + 64, u32::MAX, "child 0: core callable: sig_count"),
        ] {
            let said = spoilt(at, value);
            assert!(said.contains(field), "{field} is not in: {said}");
        }
        let said = Found::chip(&good[..100]).err().map(|error| error.to_string());
        assert!(said.is_some_and(|said| said.contains("the header")));
    }
}
