//! The command as people and scripts use it, where it has to do with chips. Everything that forks
//! does so in a process of its own: the command.

mod chip {
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use serde_json::Value;

    fn mailring(folder: &Path, words: &[&str]) -> Output {
        faulty(folder, words, "")
    }

    fn faulty(folder: &Path, words: &[&str], fault: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mailring"))
            .args(words)
            .current_dir(folder)
            .env("SIMCHIP_FAULT", fault)
            .output()
            .expect("the command starts")
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    /// Runs attention with these words, and its figures.
    fn attention(words: &[&str]) -> Value {
        let folder = folder();
        let words = [&["attention", "--json", "figures.json", "--runs", "2"], words].concat();
        let output = mailring(folder.path(), &words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains("below 1e-4") && !report.contains("NOT"), "{report}");
        let text = std::fs::read_to_string(folder.path().join("figures.json")).expect("figures");
        serde_json::from_str(&text).expect("JSON")
    }

    fn check(figures: &Value, tasks: u64, heads: u64) {
        assert_eq!(figures["tasks"], tasks, "{figures:#}");
        assert_eq!(figures["group_tasks"], heads, "{figures:#}");
        for key in ["graph", "group"] {
            // Two sums of a hundred rounded products differ; the same bits would mean that
            // something was compared with itself.
            let error = figures["max_abs_errors"][key].as_f64().expect("an error");
            assert!(error > 0.0 && error < 1e-5, "{figures:#}");
            assert!(figures["wall_s"][key].as_f64().expect("seconds") > 0.0, "{figures:#}");
        }
    }

    #[test]
    fn attention_on_one_chip() {
        let figures =
            attention(&["--chips", "1", "--heads", "2", "--sequence", "96", "--tile", "32"]);
        check(&figures, 2 * 3 * 3, 2);
        assert_eq!(figures["group_members"], 1);
    }

    #[test]
    fn attention_on_two_chips_with_tiles_that_do_not_fit() {
        let figures = attention(&[
            "--chips",
            "2",
            "--heads",
            "3",
            "--sequence",
            "101",
            "--tile",
            "32",
            "--dim",
            "17",
        ]);
        check(&figures, 3 * 4 * 4, 3);
        // 101 rows in tiles of 32, 32, 32 and 5; four rows fit the shared bytes.
        assert_eq!(figures["group_exchanges"], 3 * (8 + 8 + 8 + 2));
    }

    #[test]
    fn attention_on_three_chips_with_a_tree_of_merges() {
        let figures = attention(&[
            "--chips",
            "3",
            "--heads",
            "1",
            "--sequence",
            "70",
            "--tile",
            "40",
            "--dim",
            "5",
        ]);
        assert_eq!(figures["chains"], 2); // all that two tiles of keys allow
        check(&figures, 2 * 2 + 2, 1);
        let figures = attention(&[
            "--chips",
            "3",
            "--heads",
            "1",
            "--sequence",
            "23",
            "--tile",
            "9",
            "--dim",
            "3",
        ]);
        assert_eq!(figures["chains"], 2);
        check(&figures, 3 * 3 + 3, 1);
    }

    #[test]
    fn attention_with_as_many_chips_as_share_a_barrier() {
        let figures =
            attention(&["--chips", "8", "--heads", "1", "--sequence", "9", "--tile", "4"]);
        check(&figures, 3 * 3 + 3 * 2, 1);
        let figures = attention(&["--chips", "1", "--heads", "1", "--sequence", "1", "--dim", "1"]);
        assert_eq!(figures["tasks"], 1);
        assert_eq!(figures["max_abs_error"], 0.0); // one key: its value itself
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let folder = folder();
        for words in [
            &["attention", "--chips", "0"][..],
            &["attention", "--chips", "9"],
            &["attention", "--chips", "3", "--sequence", "2"],
            &["attention", "--heads", "1024", "--sequence", "65536", "--dim", "4096"],
            &["attention", "--heads", "1", "--sequence", "65536", "--dim", "1025"],
            &["attention", "--tile", "0"],
        ] {
            let output = mailring(folder.path(), words);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        }
    }

    const SMALL: [&str; 7] = ["attention", "--heads", "1", "--sequence", "16", "--tile", "8"];

    #[test]
    fn a_chip_that_fails_is_named_with_its_worker_and_code() {
        let folder = folder();
        // The other chip is slow, so that this one gets a task before all is done.
        for (fault, parts) in [
            ("run=-9@1,slow=50@0", ["worker 1", "device 1", "code -9"]),
            ("run=-100@0,slow=50@1", ["worker 0", "device 0", "code -100"]),
            ("set_device=7@1", ["worker 1", "device 1", "code 7"]),
        ] {
            for form in ["graph", "groups"] {
                let words = [&SMALL[..], &["--form", form, "--runs", "1"]].concat();
                let output = faulty(folder.path(), &words, fault);
                let case = format!("{form}, {fault}: {}", said(&output));
                assert_eq!(output.status.code(), Some(1), "{case}");
                for part in parts {
                    assert!(said(&output).contains(part), "{part} is not in {case}");
                }
                assert!(output.stdout.is_empty(), "a report of a run that failed: {case}");
            }
        }
    }

    #[test]
    fn a_chip_that_hangs_comes_to_its_deadline() {
        let folder = folder();
        for form in ["graph", "groups"] {
            let words = [&SMALL[..], &["--form", form, "--deadline", "1"]].concat();
            let begin = std::time::Instant::now();
            let output = faulty(folder.path(), &words, "hang@1,slow=50@0");
            assert_eq!(output.status.code(), Some(1), "{form}: {}", said(&output));
            // A deadline of a group counts for all members: those who wait have passed it as well.
            let (worker, device) = match form {
                "graph" => ("worker 1", "device 1"),
                _ => ("worker ", "device "),
            };
            for part in ["missed its deadline", worker, device] {
                assert!(said(&output).contains(part), "{form}, {part}: {}", said(&output));
            }
            // One second of deadline; ten times what is usual.
            assert!(begin.elapsed().as_secs() < 20, "{form}: {:?}", begin.elapsed());
        }
    }

    #[test]
    fn a_chip_that_dies_takes_its_worker_and_no_more() {
        let folder = folder();
        for form in ["graph", "groups"] {
            let words = [&SMALL[..], &["--form", form]].concat();
            let output = faulty(folder.path(), &words, "crash");
            assert_eq!(output.status.code(), Some(1), "{form}: {}", said(&output));
            for part in ["lost its worker", "worker ", "device ", "SIGSEGV"] {
                assert!(said(&output).contains(part), "{form}, {part}: {}", said(&output));
            }
        }
    }

    #[test]
    fn a_runtime_that_is_none_is_named() {
        let folder = folder();
        std::fs::write(folder.path().join("text.so"), "no library").expect("write");
        for (file, form) in [("missing.so", "graph"), ("text.so", "graph"), ("text.so", "groups")] {
            let words = [&SMALL[..], &["--form", form, "--runtime", file]].concat();
            let output = mailring(folder.path(), &words);
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            let path = folder.path().join(file).display().to_string();
            for part in ["dlopen", &path] {
                assert!(said(&output).contains(part), "{part}: {}", said(&output));
            }
            assert_eq!(said(&output).contains("No such file"), file == "missing.so");
            // Both workers refuse; which of them is seen first is chance.
            let named = |n: u32| {
                said(&output).contains(&format!("worker {n} "))
                    && said(&output).contains(&format!("device {n}"))
            };
            assert!(named(0) || named(1), "{}", said(&output));
        }
    }

    #[test]
    fn a_runtime_is_taken_by_its_file() {
        let folder = folder();
        let library = mailring_simchip::library_path().expect("the simulated chip");
        std::fs::copy(library, folder.path().join("own.so")).expect("a copy");
        let words = [&SMALL[..], &["--runtime", "own.so"]].concat();
        let output = mailring(folder.path(), &words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.starts_with("Attention on chips, by the runtime own.so\n"), "{report}");
    }

    #[test]
    fn the_callable_of_attention_can_be_inspected() {
        let folder = folder();
        let words = [&SMALL[..], &["--save", "attend.bin"]].concat();
        let output = mailring(folder.path(), &words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let output = mailring(folder.path(), &["chip", "inspect", "attend.bin"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = String::from_utf8_lossy(&output.stdout);
        for part in [
            "chip callable",
            "function   attend",
            "in,in,in,inout,inout,inout,scalar,scalar,scalar",
            "children   4",
            "in,in,out,scalar",
        ] {
            assert!(report.contains(part), "{part:?} is not in\n{report}");
        }
    }

    /// A callable packed from two files, and its bytes.
    fn packed(folder: &Path) -> (PathBuf, Vec<u8>) {
        std::fs::write(folder.join("orch.so"), [7; 10]).expect("write");
        for (name, bytes) in [("a.so", 7), ("b.so", 100), ("c.so", 1)] {
            std::fs::write(folder.join(name), vec![1; bytes]).expect("write");
        }
        let words = [
            "chip",
            "pack",
            "--func",
            "go",
            "--config",
            "setup",
            "--signature",
            "in,out",
            "--child",
            "3=a.so:in,out",
            "--child",
            "1=b.so",
            "--child",
            "2=c.so:scalar",
            "orch.so",
            "-o",
            "out.bin",
        ];
        let output = mailring(folder, &words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let path = folder.join("out.bin");
        let bytes = std::fs::read(&path).expect("the callable");
        (path, bytes)
    }

    #[test]
    fn what_is_packed_is_what_is_inspected() {
        let folder = folder();
        let (_, bytes) = packed(folder.path());
        // The published sizes of this layout: a binary of 10 with children of 7, 100 and 1.
        assert_eq!(bytes.len(), 1109);
        let output = mailring(folder.path(), &["chip", "inspect", "out.bin", "--json", "-"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(found["func_name"], "go");
        assert_eq!(found["config_name"], "setup");
        assert_eq!(found["signature"], serde_json::json!(["IN", "OUT"]));
        assert_eq!(found["binary"]["bytes"], 10);
        let children = found["children"].as_array().expect("children");
        let places = children.iter().map(|c| (c["func_id"].as_i64(), c["offset"].as_i64()));
        let wanted = [(3, 64), (1, 256), (2, 512)].map(|(id, at)| (Some(id), Some(at)));
        assert_eq!(places.collect::<Vec<_>>(), wanted);
        assert_eq!(children[0]["signature"], serde_json::json!(["IN", "OUT"]));
        assert_eq!(children[1]["binary"]["bytes"], 100);
    }

    #[test]
    fn a_core_callable_is_inspected_as_one() {
        let folder = folder();
        let (_, bytes) = packed(folder.path());
        std::fs::write(folder.path().join("core.bin"), &bytes[468 + 64..468 + 64 + 135])
            .expect("write");
        let output = mailring(folder.path(), &["chip", "inspect", "--core", "core.bin"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.starts_with("core callable, 135 bytes\n"), "{report}");
        assert!(report.contains("signature  in,out\n"), "{report}");
    }

    #[test]
    fn impossible_bytes_are_told_by_their_field() {
        let folder = folder();
        let (path, bytes) = packed(folder.path());
        for (at, value, field) in
            [(64, 17u32, "sig_count"), (136, 64, "func_name"), (396, 33, "child_count")]
        {
            let mut spoilt = bytes.clone();
            spoilt[at..at + 4].copy_from_slice(&value.to_le_bytes());
            std::fs::write(&path, spoilt).expect("write");
            let output = mailring(folder.path(), &["chip", "inspect", "out.bin"]);
            assert_eq!(output.status.code(), Some(1), "{field}");
            assert!(said(&output).contains(field), "{field}: {}", said(&output));
            assert!(said(&output).contains("out.bin"), "{}", said(&output));
            assert!(output.stdout.is_empty());
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
        let output = mailring(folder.path(), &["chip", "inspect", "out.bin"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("child 2"), "{}", said(&output));
        let output = mailring(folder.path(), &["chip", "inspect", "nothing.bin"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("nothing.bin"), "{}", said(&output));
    }
}
