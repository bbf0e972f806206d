//! A crate outside the workspace depends on this one by path, and builds and runs the example of
//! the front page.

use std::fs;
use std::path::Path;
use std::process::Command;

testkit::tests! {
    "dependent_crate" in crate { soak_the_example_runs_in_a_crate_of_its_own }
}

/// The example of `Executor`, as it stands in the documentation.
fn example() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(here.join("src/executor/mod.rs")).unwrap();
    let doc = text.split("```rust,standalone_crate\n").nth(1).expect("the example is there");
    let doc = doc.split("/// ```").next().unwrap_or_default();
    let lines = doc.lines().map(|line| {
        let line = line.trim_start().trim_start_matches("///");
        let line = line.strip_prefix(' ').unwrap_or(line);
        line.strip_prefix("# ").unwrap_or(if line == "#" { "" } else { line })
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn soak_the_example_runs_in_a_crate_of_its_own() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let manifest = format!(
        "[package]\nname = \"outsider\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nmailring = {{ path = {here:?} }}\n\n[workspace]\n"
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    // The same versions as here: nothing is fetched.
    fs::copy(here.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    fs::create_dir(root.join("src")).unwrap();
    let example = example();
    assert!(example.contains("fn main()") && example.contains("assert_eq!"), "{example}");
    fs::write(root.join("src/main.rs"), example).unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| here.join("target"), |set| here.join(set))
        .join("dependent_crate");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--offline"])
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTC_WRAPPER")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(!said.contains("warning"), "{said}");
}
