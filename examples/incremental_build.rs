//! A build of 200 C files that compiles what changed and nothing else, as make does; but by content
//! and not by time, so that a file that was only touched is no change. Which calls have to run is
//! nobody's business here: `compile` and `link` are served from a cache while their arguments, and the
//! files that they read, are what they were.
//!
//! `cargo run --release --example incremental_build` generates the files into a temporary directory and
//! builds them five times, with changes in between. It needs a C compiler (`cc`, or `CC`).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use mailring::flow::{Budget, Cache, Config, Flow, ObjectRef, Resources, gather, node};

const FILES: usize = 200;
/// Each is included by 20 of the files.
const HEADERS: usize = 10;

const CONFIG: &str = "
cache:
  compile: {serve: true}
  link: {serve: true}
";

/// The object file.
#[node]
fn compile(source: &Path) -> Result<Vec<u8>, String> {
    let object = scratch("object.o");
    run(cc().args(["-O1", "-c"]).arg(source).arg("-o").arg(&object))?;
    take(&object)
}

/// The program.
#[node]
fn link(objects: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let program = scratch("program");
    let mut command = cc();
    let mut files = Vec::new();
    for (n, object) in objects.iter().enumerate() {
        let file = scratch(&format!("{n}.o"));
        fs::write(&file, object).map_err(|error| error.to_string())?;
        command.arg(&file);
        files.push(file);
    }
    let linked = run(command.arg("-o").arg(&program));
    files.iter().for_each(|file| drop(fs::remove_file(file)));
    linked?;
    take(&program)
}

fn cc() -> Command {
    Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A file of this worker's own.
fn scratch(name: &str) -> PathBuf {
    env::temp_dir().join(format!("mailring-build-{}-{name}", std::process::id()))
}

fn take(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(file).map_err(|error| error.to_string());
    drop(fs::remove_file(file));
    bytes
}

/// A source, and the headers that it includes, which count as its arguments.
fn inputs(source: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let text = fs::read_to_string(source)?;
    let included =
        text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    Ok(std::iter::once(source.to_owned())
        .chain(included.map(|it| source.with_file_name(it)))
        .collect())
}

/// What a build has done.
struct Report {
    compiled: u64,
    linked: u64,
    time: Duration,
}

/// Builds the program of a directory, with workers of its own, as a program started anew does.
fn build(directory: &Path) -> Result<Report, Box<dyn Error>> {
    let start = Instant::now();
    let cpus = std::thread::available_parallelism()?.get();
    let flow = Flow::builder().workers("cpu", cpus, Resources::cpus(1.0)).build()?;
    let cache = Cache::open(directory.join("cache"), Budget::bytes(1 << 30))?;
    flow.configure(&Config::parse(CONFIG)?.cache(&cache))?;

    let sources = (0..FILES).map(|n| directory.join(source_name(n)));
    let sources: Vec<PathBuf> = sources.chain([directory.join("main.c")]).collect();
    let objects: Vec<ObjectRef<Vec<u8>>> = sources
        .iter()
        .map(|source| Ok(compile::options().inputs(inputs(source)?).remote(&flow, source)?))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let all = gather(&flow, &objects)?;
    all.wait_timeout(Duration::MAX);
    let compiled = sources.len() as u64 - flow.stats()?.served;
    let before = flow.stats()?.served;
    let program = link::remote_blocking(&flow, &all)?;
    let linked = 1 - (flow.stats()?.served - before);

    fs::write(directory.join("program"), program)?;
    Ok(Report { compiled, linked, time: start.elapsed() })
}

fn source_name(n: usize) -> String {
    format!("file_{n:03}.c")
}

fn source(n: usize, plus: u32) -> String {
    format!(
        "#include \"group_{0}.h\"\nint function_{n}(int x) {{ return GROUP_{0} + x + {plus}; }}\n",
        n % HEADERS
    )
}

fn header(n: usize, value: u32) -> String {
    format!("#define GROUP_{n} {value}\n")
}

fn generate(directory: &Path) -> std::io::Result<()> {
    for n in 0..HEADERS {
        fs::write(directory.join(format!("group_{n}.h")), header(n, 0))?;
    }
    for n in 0..FILES {
        fs::write(directory.join(source_name(n)), source(n, 0))?;
    }
    let lines = |f: &dyn Fn(usize) -> String| (0..FILES).map(f).collect::<String>();
    let main = format!(
        "#include <stdio.h>\n{}int main(void) {{\n  int x = 0;\n{}  printf(\"%d\\n\", x);\n  return 0;\n}}\n",
        lines(&|n| format!("int function_{n}(int);\n")),
        lines(&|n| format!("  x = function_{n}(x);\n"))
    );
    fs::write(directory.join("main.c"), main)
}

/// What the program prints.
fn result(directory: &Path) -> Result<i64, Box<dyn Error>> {
    use std::os::unix::fs::PermissionsExt;
    let program = directory.join("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(String::from_utf8(Command::new(program).output()?.stdout)?.trim().parse()?)
}

/// What somebody does to the files between two builds.
type Change<'a> = &'a dyn Fn() -> std::io::Result<()>;

fn main() -> Result<(), Box<dyn Error>> {
    if cc().arg("--version").output().is_err() {
        eprintln!("no C compiler: install `cc`, or name one in CC");
        std::process::exit(77);
    }
    let directory = env::temp_dir().join(format!("mailring-build-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    generate(&directory)?;
    let path = |name: &str| directory.join(name);
    let steps: [(&str, Change<'_>, u64, u64, i64); 5] = [
        ("all is new", &|| Ok(()), 201, 1, 0),
        ("nothing changed", &|| Ok(()), 0, 0, 0),
        ("one file changed", &|| fs::write(path("file_042.c"), source(42, 5)), 1, 1, 5),
        ("one file touched", &|| fs::write(path("file_042.c"), source(42, 5)), 0, 0, 5),
        ("a header changed", &|| fs::write(path("group_7.h"), header(7, 10)), 20, 1, 205),
    ];
    for (what, change, compiled, linked, expected) in steps {
        change()?;
        let done = build(&directory)?;
        println!(
            "{what:16}: {:3} of 201 compiled, {} linked, {:.2} s",
            done.compiled,
            done.linked,
            done.time.as_secs_f64()
        );
        assert_eq!((done.compiled, done.linked), (compiled, linked));
        assert_eq!(result(&directory)?, expected);
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}
