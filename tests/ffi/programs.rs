//! Programs in C and C++, compiled with all warnings as errors, run, and run under valgrind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::library::{self, prefix, run, script, source};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Linked {
    Shared,
    Statically,
}

/// A program of `c/`, compiled in a directory of its own.
struct Program {
    place: TempDir,
    binary: PathBuf,
}

fn place() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for a program")
}

/// A compiler with the flags that every program must pass.
fn compiler(cpp: bool) -> Command {
    let mut command = Command::new(if cpp { "c++" } else { "cc" });
    command.arg(if cpp { "-std=c++17" } else { "-std=gnu11" });
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"]);
    command
}

/// What pkg-config says of the installed library.
fn flags(what: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(what).arg("mailring").env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let said = run(&mut command).unwrap();
    said.split_whitespace().map(str::to_owned).collect()
}

impl Program {
    fn compile(file: &str, cpp: bool, linked: Linked) -> Self {
        let place = place();
        let binary = place.path().join("program");
        let mut command = compiler(cpp);
        if cpp {
            command.args(["-x", "c++"]);
        }
        command.arg(source("tests/ffi/c").join(file)).args(["-x", "none"]).arg("-o").arg(&binary);
        match linked {
            Linked::Shared => command.args(flags(&["--cflags", "--libs"])),
            Linked::Statically => {
                command.args(flags(&["--cflags"])).arg(prefix().join("lib/libmailring.a"));
                let libs = flags(&["--static", "--libs"]);
                command.args(libs.into_iter().filter(|flag| flag != "-lmailring"))
            }
        };
        run(command.arg("-lpthread")).unwrap();
        Self { place, binary }
    }

    fn c(file: &str) -> Self {
        Self::compile(file, false, Linked::Shared)
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn finish(&self, mut command: Command, args: &[&Path]) {
        command.args(args).env("LD_LIBRARY_PATH", prefix().join("lib")).stdin(Stdio::null());
        match run(&mut command) {
            Ok(said) => assert_eq!(said, "ok\n"),
            Err(why)
                if why.contains("forking the fork server failed: Function not implemented") =>
            {
                panic!(
                    "no executor can be built under this valgrind, which answers ENOSYS to \
                     pidfd_open: the engine needs its way without pidfds\n{why}"
                )
            }
            Err(why) => panic!("{why}"),
        }
    }

    fn run(&self, args: &[&Path]) {
        self.finish(Command::new(&self.binary), args);
    }

    /// Under valgrind. Workers and other children are not looked at: they share the memory of the
    /// arena, which valgrind cannot know, and end without giving back what they have.
    fn check(&self, args: &[&Path]) {
        if Command::new("valgrind").arg("--version").output().is_err() {
            println!("there is no valgrind here, so this test has nothing to do");
            return;
        }
        let mut command = Command::new("valgrind");
        command.args([
            "--error-exitcode=9",
            "--child-silent-after-fork=yes",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
            "--quiet",
        ]);
        command.arg(&self.binary);
        self.finish(command, args);
    }
}

/// A shared object from one file. Linked with nothing.
fn shared_object(name: &str, program: &Program) -> PathBuf {
    let path = program.path().join(format!("lib{name}.so"));
    let mut command = compiler(false);
    command.args(["-shared", "-fPIC", "-Wl,-z,defs", "-o"]).arg(&path);
    let file = source(&format!("tests/ffi/c/{name}.c"));
    run(command.arg(file).args(flags(&["--cflags"]))).unwrap();
    path
}

/// The one with functions that are registered late.
fn late(program: &Program) -> PathBuf {
    shared_object("dynamic", program)
}

pub(crate) fn misuse() {
    Program::c("misuse.c").run(&[]);
}

pub(crate) fn misuse_checked() {
    Program::c("misuse.c").check(&[]);
}

pub(crate) fn structs() {
    Program::c("structs.c").run(&[]);
}

pub(crate) fn structs_checked() {
    Program::c("structs.c").check(&[]);
}

pub(crate) fn structs_in_cpp() {
    Program::compile("structs.c", true, Linked::Shared).run(&[]);
}

pub(crate) fn structs_static() {
    Program::compile("structs.c", false, Linked::Statically).run(&[]);
    Program::compile("parts.c", false, Linked::Statically).run(&[]);
}

pub(crate) fn parts() {
    Program::c("parts.c").run(&[]);
}

pub(crate) fn parts_checked() {
    Program::c("parts.c").check(&[]);
}

pub(crate) fn tasks() {
    let program = Program::c("tasks.c");
    program.run(&[&late(&program), program.path()]);
}

pub(crate) fn tasks_checked() {
    let program = Program::c("tasks.c");
    program.check(&[&late(&program), program.path()]);
}

/// The host runtime in C that tests of chips drive.
fn host_runtime(program: &Program) -> PathBuf {
    shared_object("host", program)
}

pub(crate) fn chips() {
    let program = Program::c("chips.c");
    program.run(&[&host_runtime(&program)]);
}

/// The log, destructors, memory that runs out.
pub(crate) fn around() {
    Program::c("around.c").run(&[]);
}

pub(crate) fn waits() {
    Program::c("waits.c").run(&[]);
}

pub(crate) fn replay() {
    Program::c("replay.c").run(&[]);
}

pub(crate) fn submit() {
    Program::c("submit.c").run(&[]);
}

pub(crate) fn submit_checked() {
    Program::c("submit.c").check(&[]);
}

/// Constants of another enumeration, forgotten results: the compiler complains.
pub(crate) fn wrong_constants() {
    let place = place();
    let file = place.path().join("wrong.c");
    let head = "#include <mailring.h>\nmr_status f(mr_args *a, mr_tensor *t, mr_executor *e, \
                size_t *n);\nmr_status f(mr_args *a, mr_tensor *t, mr_executor *e, size_t *n) { \
                (void)a; (void)t; (void)e; (void)n;\n";
    let compile = |cpp: bool, statement: &str| {
        fs::write(&file, format!("{head}{statement}\nreturn MR_OK; }}\n")).unwrap();
        let mut command = compiler(cpp);
        command.args(["-c", "-o", "/dev/null", "-x", if cpp { "c++" } else { "c" }]).arg(&file);
        run(command.args(flags(&["--cflags"])))
    };
    let wrong = [
        "if (mr_args_add_tensor(a, t, MR_FLOAT32) != MR_OK) return MR_ERR_ARGS;",
        "if (mr_tensor_init(t, 0, MR_INPUT, 0, 0) != MR_OK) return MR_ERR_ARGS;",
        "if (mr_executor_workers(e, MR_MODE_THREAD, n) != MR_OK) return MR_ERR_ARGS;",
        "mr_options o; o.mode = MR_WAIT_SPIN; (void)o;",
        "mr_args_add_tensor(a, t, MR_INPUT);",
    ];
    for statement in wrong {
        for cpp in [false, true] {
            assert!(compile(cpp, statement).is_err(), "{statement} compiles");
        }
    }
    for cpp in [false, true] {
        let right = "mr_args_free(a); return mr_args_add_tensor(a, t, MR_INPUT);";
        compile(cpp, right).unwrap();
        compile(cpp, "return mr_tensor_init(t, 0, MR_FLOAT64, 0, 0);").unwrap();
        compile(cpp, "int known[MR_VERSION >= 100 ? 1 : -1]; (void)known;").unwrap();
    }
}

pub(crate) fn threads() {
    Program::c("threads.c").run(&[]);
}

pub(crate) fn threads_checked() {
    Program::c("threads.c").check(&[]);
}

pub(crate) fn child() {
    Program::c("child.c").run(&[]);
}

pub(crate) fn throws() {
    let program = Program::compile("throws.cpp", true, Linked::Shared);
    program.run(&[&host_runtime(&program)]);
}

pub(crate) fn throws_checked() {
    Program::compile("throws.cpp", true, Linked::Shared).check(&[]);
}

/// Compiled by itself, twice in one file, in the strictest dialects.
pub(crate) fn header_alone() {
    let place = place();
    let file = place.path().join("alone.c");
    let both = [
        ("mailring.h", false, "-std=c11"),
        ("mailring.h", false, "-std=c17"),
        ("mailring.h", true, "-std=c++17"),
        ("mailring.h", true, "-std=c++20"),
        ("mailring_host_runtime.h", false, "-std=c11"),
        ("mailring_host_runtime.h", true, "-std=c++17"),
        ("mailring.hpp", true, "-std=c++17"),
        ("mailring.hpp", true, "-std=c++20"),
    ];
    for (header, cpp, standard) in both {
        fs::write(&file, format!("#include <{header}>\n#include <{header}>\n")).unwrap();
        let mut command = compiler(cpp);
        command.args([standard, "-Wconversion", "-Wshadow", "-fsyntax-only"]);
        command.args(["-x", if cpp { "c++" } else { "c" }]).arg(&file);
        run(command.args(flags(&["--cflags"]))).unwrap();
    }
}

pub(crate) fn examples() {
    let said = run(script("ffi/examples/run.sh").current_dir("/")).unwrap();
    for part in [
        "c: 1000 tasks",
        "replay: 8 steps",
        "c++: 100 steps",
        "python: longest",
        "all examples ran",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// A project that finds the package as `find_package` does, and is linked both ways.
pub(crate) fn cmake() {
    if Command::new("cmake").arg("--version").output().is_err() {
        println!("there is no cmake here, so this test has nothing to do");
        return;
    }
    let place = place();
    let project = place.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::copy(source("ffi/examples/c/graph.c"), project.join("graph.c")).unwrap();
    let lists = |wanted: &str| {
        format!(
            "cmake_minimum_required(VERSION 3.13)\nproject(graph C)\n\
             find_package(mailring {wanted} REQUIRED)\n\
             foreach(kind mailring static)\n\
             add_executable(with_${{kind}} graph.c)\n\
             target_link_libraries(with_${{kind}} PRIVATE mailring::${{kind}})\n\
             endforeach()\n"
        )
    };
    let configure = |wanted: &str| {
        fs::write(project.join("CMakeLists.txt"), lists(wanted)).unwrap();
        let mut command = Command::new("cmake");
        command.arg("-S").arg(&project).arg("-B").arg(place.path().join(format!("for {wanted}")));
        run(command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())))
    };
    let version = env!("CARGO_PKG_VERSION");
    let later = configure("0.2").unwrap_err();
    assert!(later.contains(version), "{later}");
    configure(version).unwrap();
    let built = place.path().join(format!("for {version}"));
    run(Command::new("cmake").arg("--build").arg(&built)).unwrap();
    for program in ["with_mailring", "with_static"] {
        let said = run(&mut Command::new(built.join(program))).unwrap();
        assert!(said.starts_with("1000 tasks"), "{said}");
    }
}

/// The installed files, with what is in them.
fn installed() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let directories = ["lib", "include", "lib/pkgconfig", "lib/cmake/mailring", "share/mailring"];
    for directory in directories {
        for entry in fs::read_dir(prefix().join(directory)).unwrap().flatten() {
            if entry.path().is_file() {
                let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn install_again() {
    let before = installed();
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    let version = env!("CARGO_PKG_VERSION");
    let full = format!("lib/libmailring.so.{version}");
    let expected = [
        "include/mailring.h",
        "include/mailring.hpp",
        "include/mailring_host_runtime.h",
        "lib/cmake/mailring/mailring-config-version.cmake",
        "lib/cmake/mailring/mailring-config.cmake",
        "lib/libmailring.a",
        "lib/libmailring.so",
        "lib/libmailring.so.0",
        &full,
        "lib/pkgconfig/mailring.pc",
        "share/mailring/mailring.py",
        "share/mailring/mailring.supp",
    ];
    assert_eq!(names, expected);
    library::build().unwrap();
    assert!(before == installed(), "the second time changed something");
    let link = fs::read_link(prefix().join("lib/libmailring.so")).unwrap();
    assert_eq!(link, Path::new("libmailring.so.0"));
    assert_eq!(
        run(Command::new("pkg-config")
            .args(["--modversion", "mailring"])
            .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")))
        .unwrap()
        .trim(),
        version
    );
    assert!(run(&mut script("ffi/install.sh")).unwrap_err().contains("usage"));
}
