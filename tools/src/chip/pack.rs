//! `mailring chip pack`: a chip callable from shared objects.

use std::path::{Path, PathBuf};

use clap::Args;
use mailring::abi::{AbiError, ArgDirection, ChipCallable, CoreCallable};
use mailring::limits::{CALLABLE_NAME_BYTES, MAX_CHILDREN, MAX_SIGNATURE};

use super::signature_text;
use crate::cli::Failure;
use crate::output;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The function of ORCH.so that a runtime calls
    #[arg(long = "func", value_name = "NAME", value_parser = parse_name)]
    func: String,

    /// The function that configures it
    #[arg(long = "config", value_name = "NAME", value_parser = parse_name)]
    config: Option<String>,

    /// What it does with its arguments, in order: in, out, inout, scalar
    #[arg(long, value_name = "in,out,...", default_value = "", hide_default_value = true,
          value_parser = parse_signature)]
    signature: Signature,

    /// A kernel: its function id, its shared object, and maybe its signature; again for more
    #[arg(long = "child", value_name = "ID=FILE[:in,out,...]", allow_hyphen_values = true,
          value_parser = parse_child)]
    children: Vec<Child>,

    /// The binary that orchestrates
    #[arg(value_name = "ORCH.so")]
    orchestration: PathBuf,

    /// Where the callable goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Signature(Vec<ArgDirection>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    func_id: i32,
    file: PathBuf,
    signature: Signature,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    check(options).map_err(Failure::Usage)?;
    let callable = build(options).map_err(Failure::of("making the callable"))?;
    let name = options.output.display();
    std::fs::write(&options.output, callable.as_bytes())
        .map_err(Failure::of(&format!("writing {name}")))?;
    let children = options.children.len();
    output::print(&format!(
        "{name}: {} bytes, function {}, signature {}, {children} {}\n",
        callable.as_bytes().len(),
        options.func,
        signature_text(&options.signature.0),
        if children == 1 { "child" } else { "children" }
    ))
}

/// What single arguments cannot tell.
fn check(options: &Options) -> Result<(), String> {
    let children = &options.children;
    if children.len() > MAX_CHILDREN {
        let count = children.len();
        return Err(format!("{count} children are too many: a callable carries {MAX_CHILDREN}"));
    }
    for (index, child) in children.iter().enumerate() {
        if let Some(first) = children[..index].iter().find(|c| c.func_id == child.func_id) {
            return Err(format!(
                "function id {} is given twice, to {} and to {}; a kernel is launched by its id",
                child.func_id,
                first.file.display(),
                child.file.display()
            ));
        }
    }
    let inputs = children.iter().map(|child| &child.file).chain([&options.orchestration]);
    let output = options.output.canonicalize();
    for input in inputs {
        if output.as_ref().is_ok_and(|output| input.canonicalize().is_ok_and(|i| i == *output)) {
            return Err(format!("{} is input and output at once", input.display()));
        }
    }
    Ok(())
}

fn build(options: &Options) -> Result<ChipCallable, AbiError> {
    let mut builder = ChipCallable::builder(options.func.as_str())
        .config_name(options.config.as_deref().unwrap_or_default())
        .signature(options.signature.0.as_slice())
        .binary_file(&options.orchestration)?;
    for child in &options.children {
        let core = CoreCallable::from_file(&child.signature.0, &child.file)?;
        builder = builder.child(child.func_id, core);
    }
    builder.build()
}

/// The library would cut a longer name; here that would make a callable whose function is not
/// found.
fn parse_name(text: &str) -> Result<String, String> {
    let most = CALLABLE_NAME_BYTES - 1;
    match text.len() {
        0 => Err("a function has a name".to_owned()),
        bytes if bytes > most => {
            Err(format!("{bytes} bytes are too many: a callable has room for {most}"))
        }
        _ if text.contains('\0') => Err("a NUL ends a name".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn parse_signature(text: &str) -> Result<Signature, String> {
    if text.is_empty() {
        return Ok(Signature::default());
    }
    let entries: Result<Vec<_>, _> = text.split(',').map(parse_direction).collect();
    let entries = entries?;
    if entries.len() > MAX_SIGNATURE {
        let count = entries.len();
        return Err(format!("{count} entries are too many: a signature has {MAX_SIGNATURE}"));
    }
    Ok(Signature(entries))
}

fn parse_direction(word: &str) -> Result<ArgDirection, String> {
    let known = ArgDirection::ALL.into_iter().find(|d| d.name().eq_ignore_ascii_case(word.trim()));
    known.ok_or_else(|| {
        format!("`{word}` is not a direction; the known ones are in, out, inout, scalar")
    })
}

fn parse_child(text: &str) -> Result<Child, String> {
    let (id, rest) = text.split_once('=').ok_or("a child is ID=FILE or ID=FILE:SIGNATURE")?;
    let func_id = id.trim().parse();
    let func_id =
        func_id.map_err(|_| format!("`{id}` is not a function id: a 32-bit integer is"))?;
    // A file may have a colon in its name.
    let (file, signature) = match rest.rsplit_once(':') {
        Some((file, signature)) if !Path::new(rest).exists() => (file, parse_signature(signature)?),
        _ => (rest, Signature::default()),
    };
    if file.is_empty() {
        return Err("a child is ID=FILE or ID=FILE:SIGNATURE, and this has no file".to_owned());
    }
    Ok(Child { func_id, file: file.into(), signature })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::chip::inspect;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["pack"], words].concat()).map(|line| line.options)
    }

    #[test]
    fn a_packed_callable_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("orch.so"), b"orchestration").expect("write");
        std::fs::write(path("a:b.so"), b"first").expect("write");
        std::fs::write(path("c.so"), b"second").expect("write");
        let text = |name: &str| path(name).display().to_string();
        let (first, second) =
            (format!("4={}", text("a:b.so")), format!("-1={}:in,OUT", text("c.so")));
        let options = parse(&[
            "--func",
            "run",
            "--config",
            "setup",
            "--signature",
            "in,inout,scalar",
            "--child",
            &first,
            "--child",
            &second,
            &text("orch.so"),
            "-o",
            &text("out.bin"),
        ])
        .expect("arguments");
        run(&options).expect("packed");
        let bytes = std::fs::read(path("out.bin")).expect("read");
        let view = mailring::abi::ChipCallableView::read(&bytes).expect("a callable");
        assert_eq!((view.func_name(), view.config_name()), ("run".into(), "setup".into()));
        assert_eq!(view.signature(), [ArgDirection::In, ArgDirection::InOut, ArgDirection::Scalar]);
        assert_eq!(view.binary(), b"orchestration");
        let children: Vec<_> = view
            .children()
            .map(|(id, core)| (id, core.binary().to_vec(), core.signature().to_vec()))
            .collect();
        let signature = vec![ArgDirection::In, ArgDirection::Out];
        assert_eq!(children, [(4, b"first".to_vec(), vec![]), (-1, b"second".to_vec(), signature)]);
        assert!(inspect::text_of(&bytes).expect("inspected").contains("in,out"));
    }

    #[test]
    fn bad_arguments_are_refused_with_a_reason() {
        let long = "f".repeat(64);
        let signature = ["in"; 17].join(",");
        for (words, reason) in [
            (&["--func", "", "a", "-o", "b"][..], "has a name"),
            (&["--func", &long, "a", "-o", "b"], "room for 63"),
            (&["--func", "f", "--signature", "in,upward", "a", "-o", "b"], "`upward`"),
            (&["--func", "f", "--signature", &signature, "a", "-o", "b"], "17 entries"),
            (&["--func", "f", "--child", "x.so", "a", "-o", "b"], "ID=FILE"),
            (&["--func", "f", "--child", "one=x.so", "a", "-o", "b"], "`one`"),
            (&["--func", "f", "--child", "1=:in", "a", "-o", "b"], "no file"),
            (&["--func", "f", "--child", "1=x.so:up", "a", "-o", "b"], "`up`"),
            (&["a", "-o", "b"], "--func"),
        ] {
            let said = parse(words).err().map(|error| error.to_string());
            assert!(said.as_ref().is_some_and(|said| said.contains(reason)), "{words:?}: {said:?}");
        }
    }

    #[test]
    fn children_are_told_apart_by_their_ids() {
        let words = ["--func", "f", "--child", "1=x.so", "--child", "1=y.so", "a", "-o", "b"];
        let said = check(&parse(&words).expect("arguments")).expect_err("the same id twice");
        assert!(said.contains("function id 1 is given twice"), "{said}");
        let many: Vec<_> = (0..33).map(|id| format!("--child={id}=x.so")).collect();
        let mut words = vec!["--func", "f", "a", "-o", "b"];
        words.extend(many.iter().map(String::as_str));
        let said = check(&parse(&words).expect("arguments")).expect_err("33 children");
        assert!(said.contains("carries 32"), "{said}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let options = parse(&["--func", "f", "/nowhere/orch.so", "-o", "b"]).expect("arguments");
        let said = build(&options).expect_err("no file").to_string();
        assert!(said.contains("/nowhere/orch.so"), "{said}");
    }
}
