//! `mailring bench` as people and scripts use it. What it measures is not judged here.

mod bench {
    use std::process::{Command, Output};

    use serde_json::Value;

    /// What every `--quick` run has at the top of its JSON file.
    const FLAT: &[&str] = &[
        "floor_pingpong_ns",
        "floor_futex_ns",
        "rtt_ns_p50",
        "ratio_rtt",
        "ratio_rtt_bare",
        "independent_per_s",
        "ratio_independent_rayon",
        "ratio_independent_bare",
        "chain_ns",
        "ratio_chain_rayon",
        "ratio_chain_bare",
        "replay_chain_ns",
        "ratio_replay_chain_rayon",
        "ratio_replay_independent_rayon",
        "metg_stencil_w4_us",
        "ratio_metg_stencil",
        "metg_trivial_w4_us",
        "ratio_metg_trivial",
        "group2_ns",
        "ratio_group2",
        "wake_ns",
        "ratio_wake",
        "growth_ratio",
        "rss_growth_bytes",
        "storage_ratio",
        "idle_cpu_percent",
        "ratio_flow_rtt",
        "ratio_flow_chain",
        "flow_cancel_us",
        "ratio_c_rtt",
        "ratio_c_independent",
        "isolation_tax_rtt",
        "isolation_tax_independent",
        "isolation_tax_chain",
    ];

    fn bench(words: &[&str]) -> Output {
        let words = [&["bench"], words].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_mailring")).args(words).output();
        output.expect("the command starts")
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn json(text: &[u8]) -> Value {
        serde_json::from_slice(text).expect("JSON")
    }

    #[test]
    fn one_section_is_measured_in_a_process_of_its_own() {
        let output = bench(&["--quick", "--only", "storage", "--json", "-"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let figures = json(&output.stdout);
        assert!(figures["storage_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{figures:#}");
        let detail = &figures["detail"]["storage_ratio"];
        let at = |key: &str| detail[key].as_f64().expect("a number");
        assert!(at("rounds") >= 3.0 && at("min") <= at("median") && at("median") <= at("max"));
        assert!(figures["verdict"]["judged"].is_boolean(), "{figures:#}");
        assert!(figures.get("rtt_ns_p50").is_none(), "not measured, not guessed");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let output = bench(&["--only", "floor,nothing"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("no section is called \"nothing\"; there are floor, tasks"));
        assert!(output.stdout.is_empty());
        let output = bench(&["--json", "/nowhere/bench.json"]);
        assert_eq!(output.status.code(), Some(1), "before anything is measured");
        assert!(said(&output).contains("writing /nowhere/bench.json: "), "{}", said(&output));
        assert!(output.stdout.is_empty());
        let help = bench(&["--help"]);
        let help = String::from_utf8_lossy(&help.stdout);
        for key in FLAT {
            assert!(help.contains(&format!("* {key} ")), "{key} is not in the help");
        }
    }

    /// `tools/bench_tables.py`, with what stands in files of these names.
    fn tables(files: &[&std::path::Path]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench_tables.py");
        let output = Command::new("python3").arg(script).arg("--print").args(files).output();
        let output = output.expect("Python starts");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[test]
    fn tables_have_the_median_of_runs_and_their_range() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = [(100.0, "near", 230.0), (370.0, "far", 800.0), (371.0, "far", 900.0)];
        let files = runs.map(|(floor, state, trip)| {
            let run = serde_json::json!({
                "command": "mailring bench",
                "machine": { "model": "A Chip", "processors": 2, "kernel": "6.1" },
                "verdict": { "judged": true, "state": state, "reasons": [] },
                "detail": {
                    "tasks.pingpong_ns": { state: floor }, "rtt_ns_p50": { state: trip },
                    "ratio_rtt": { state: trip / floor },
                    "series": { "workers.rtt": { "mailring, processes": [[2.0, trip]] } },
                },
            });
            let file = folder.path().join(format!("{floor}.json"));
            std::fs::write(&file, run.to_string()).expect("a file");
            file
        });
        let tables = tables(&files.each_ref().map(std::path::PathBuf::as_path));
        for part in [
            "3 runs of `cargo run --release -- bench` on a virtual machine: A Chip, 2 processors,",
            "**Near**: ping-pong 100 ns\n\n|  | processes |\n| --- | --- |\n| round trip | 230 ns |\n",
            "**Far**: ping-pong 370 ns (370 to 371 ns)\n",
            "| round trip | 850 ns (800 to 900 ns) |\n",
            "| round trip / ping-pong | 850 ns | 2.29 (2.16 to 2.43) |\n",
            "| round trip, workers | 2 |\n| --- | --- |\n| mailring, processes | 850 ns |\n",
            "## flow\n\nNot measured in these runs.\n",
        ] {
            assert!(tables.contains(part), "{part:?} is not in\n{tables}");
        }
    }

    #[test]
    #[ignore = "the whole bench: half a minute, without optimisation more"]
    fn soak_a_quick_run_has_every_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, plot] = ["bench.json", "bench.svg"].map(|name| folder.path().join(name));
        let [file_word, plot_word] = [&file, &plot].map(|path| path.to_str().expect("UTF-8"));
        let output = bench(&["--quick", "--json", file_word, "--plot", plot_word]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let figures = json(&std::fs::read(&file).expect("figures"));
        let tables = tables(&[&file]);
        assert!(
            tables.contains("| round trip |") && tables.contains("| futex round trip |"),
            "{tables}"
        );
        for &key in FLAT {
            let value = figures[key].as_f64();
            let is_good = |v: f64| v.is_finite() && (v > 0.0 || key == "rss_growth_bytes");
            assert!(value.is_some_and(is_good), "{key}: {value:?}");
            assert_eq!(figures["detail"][key]["median"].as_f64(), value, "{key}");
        }
        assert_eq!(figures["detail"]["failed"], serde_json::json!({}));
        let state = figures["verdict"]["state"].as_str();
        assert!(matches!(state, Some("near" | "far")), "{state:?}");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.starts_with("mailring bench --quick\n"), "{report}");
        assert!(report.contains("/ ping-pong") && !report.contains("FAILED"), "{report}");
        let picture = std::fs::read_to_string(plot).expect("a picture");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}
