//! What is written for each format, and what is said of bad logs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::logs::{self, HOSTILE, Log};
use crate::{Folder, said};

fn figures(folder: &Folder, words: &[&str]) -> Value {
    let text = folder.well(&[words, &["--format", "table", "--json", "-"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-6)
}

/// Two calls of `a`, one of them beside the other, and `b` that needs both; one worker each.
fn known() -> Log {
    let plan = |func: &str, takes, deps: &[usize], label| logs::Plan {
        func: func.to_owned(),
        takes,
        deps: deps.to_vec(),
        label,
        ..logs::Plan::default()
    };
    let plans = [
        plan("a", 10_000, &[], Some("x")),
        plan("a", 30_000, &[], Some("x")),
        plan("c", 1_000, &[], Some("y")),
        plan("b", 5_000, &[0, 1], Some("y")),
    ];
    logs::simulate(&[("one/0", "one", &["x"]), ("two/0", "two", &["y"])], &plans)
}

#[test]
fn table_in_the_columns_of_the_reference() {
    let folder = Folder::new();
    folder.write("run.log", known().text());
    assert_eq!(
        folder.well(&["run.log", "--format", "table", "--funcs", "b, absent,a"]),
        "func,count,mean_exec_time_s,std_exec_time_s,min_exec_time_s,max_exec_time_s,total_exec_time_s\n\
         b,1,0.005000,0.000000,0.005000,0.005000,0.005000\n\
         absent,0,,,,,\n\
         a,2,0.020000,0.014142,0.010000,0.030000,0.040000\n"
    );
    // All of several logs, one in a directory below, with the names in a file, and into a file.
    folder.write("more/deep/again.jsonl", known().text());
    folder.write("more/notes.txt", "no log");
    folder.write("names", "a\n");
    folder.well(&["run.log", "more", "--format", "table", "--funcs", "names", "-o", "t.csv"]);
    assert!(
        folder.read("t.csv").contains("\na,4,0.020000,0.011547,0.010000,"),
        "{}",
        folder.read("t.csv")
    );
    let figures = figures(&folder, &["run.log"]);
    assert_eq!(figures["functions"][0]["func"], "a");
    assert!(near(&figures["functions"][0]["total_exec_time_s"], 0.04), "{figures:#}");
}

#[test]
fn where_time_went() {
    let folder = Folder::new();
    folder.write("run.log", known().text());
    let figures = figures(&folder, &["run.log"]);
    let run = &figures["runs"][0];
    // The second `a` waits for the first, `b` for both, and `c` for nobody.
    assert!(near(&run["time_s"]["running"], 0.046), "{run:#}");
    let waited = run["time_s"]["resources:x"].as_f64().expect("a wait for x");
    assert!((0.0099..0.0102).contains(&waited), "{run:#}");
    assert!(run["time_s"].get("resources:y").is_none(), "{run:#}");
    let inputs = run["time_s"]["inputs"].as_f64().expect("a wait for inputs");
    assert!((0.040..0.0403).contains(&inputs), "{run:#}");
    // One after the other, by the worker and then by the value.
    let path: Vec<_> = run["critical_path"]
        .as_array()
        .expect("steps")
        .iter()
        .filter(|step| step["spent"] == "running")
        .map(|step| step["call_id"].as_str().expect("a call").to_owned())
        .collect();
    assert_eq!(path, [logs::id(0), logs::id(1), logs::id(3)], "{run:#}");
    let steps = run["critical_path"].as_array().expect("steps");
    for pair in steps.windows(2) {
        assert_eq!(pair[0]["to_s"], pair[1]["from_s"], "a gap: {pair:?}");
    }
    // `b` needs one `a` of 30 ms.
    assert!(near(&run["longest_chain_s"], 0.035), "{run:#}");
    assert_eq!(run["workers"][0]["worker_id"], "one/0");
    assert!(near(&run["workers"][0]["running_s"], 0.04), "{run:#}");
}

#[test]
fn retries_deaths_and_what_never_ran() {
    let folder = Folder::new();
    folder.write("run.log", logs::sweep().text());
    let figures = figures(&folder, &["run.log"]);
    let run = &figures["runs"][0];
    let totals = json!({
        "calls": 21, "completed": 17, "failed": 1, "cancelled": 2, "served": 1, "unfinished": 0,
        "bypassed": 1, "retried": 1, "local": 1, "worker_deaths": 1,
    });
    assert_eq!(run["totals"], totals);
    // The body that failed and the attempt that died; set-up of the builds that worked.
    let lost = run["time_s"]["lost"].as_f64().expect("lost time");
    assert!((0.765..0.7651).contains(&lost), "{run:#}");
    assert!(near(&run["time_s"]["setup"], 0.07), "{run:#}");
    let sum: f64 =
        run["critical_path_s"].as_object().expect("parts").values().filter_map(Value::as_f64).sum();
    let wall = run["wall_s"].as_f64().expect("seconds");
    assert!(sum <= wall && sum > 0.99 * wall, "{sum} of {wall}");
    let words = folder.well(&["run.log", "-o", "page.html"]);
    assert!(words.contains("21 calls, 3 workers") && words.contains("1 failed"), "{words}");
}

#[test]
fn logs_of_the_reference() {
    let folder = Folder::new();
    // 700 s after its last line the next run begins; 500 s after it the same one goes on.
    folder.write("run.log", logs::reference(710_000_000).text());
    folder.write("one.log", logs::reference(500_000_000).text());
    let last = figures(&folder, &["run.log"]);
    assert_eq!(last["runs"][0]["number"], 2);
    assert_eq!(last["runs"][0]["totals"]["calls"], 3);
    assert_eq!(last["runs"][0]["totals"]["unfinished"], 1, "a failure has no end there");
    assert_eq!(figures(&folder, &["run.log", "--run", "all"])["runs"][1]["number"], 2);
    assert_eq!(figures(&folder, &["one.log"])["runs"][0]["totals"]["calls"], 6);
    let cut = figures(&folder, &["one.log", "--gap-threshold", "300", "--run", "1"]);
    assert_eq!(cut["runs"][0]["totals"]["calls"], 3);
    assert!(near(&cut["functions"][0]["total_exec_time_s"], 3.0), "{cut:#}");
    for format in ["html", "svg", "perfetto"] {
        folder.well(&["run.log", "--format", format, "-o", "out"]);
    }
}

#[test]
fn default_names() {
    let folder = Folder::new();
    folder.write("run.log", known().text());
    for (format, name) in [("html", "html"), ("svg", "svg"), ("perfetto", "perfetto-trace")] {
        let words = folder.well(&["run.log", "--format", format]);
        let name = format!("run_profile.{name}");
        assert!(words.contains(&format!("wrote {name}")), "{words}");
        assert!(folder.path().join(name).is_file());
    }
    assert!(folder.well(&["run.log", "--format", "svg", "-o", "-"]).starts_with("<svg "));
    assert!(
        folder.well(&["run.log", "--format", "svg", "-o", "o", "--json", "j"]).contains("wrote o")
    );
    assert!(folder.read("j").contains("critical_path"));
}

#[test]
fn bad_input() {
    let folder = Folder::new();
    let refused = |words: &[&str], code: i32, says: &[&str]| {
        let output = folder.trace(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        for part in says {
            assert!(
                said(&output).contains(part),
                "{words:?} does not say {part:?}: {}",
                said(&output)
            );
        }
    };
    let text = known().text();
    folder.write("run.log", &text);
    folder.write("empty.log", "");
    folder.write("blank.log", "\n\n");
    folder.write("other.log", "GIF89a\nthis is no log\n");
    folder.write("nothing/here.txt", "");
    refused(&[], 2, &["FILE"]);
    refused(&["absent.log"], 1, &["absent.log", "No such file"]);
    refused(&["nothing"], 1, &["nothing", "*.log"]);
    refused(&["empty.log"], 1, &["empty.log: the log is empty"]);
    refused(&["blank.log"], 1, &["no line that is an event"]);
    refused(&["other.log"], 1, &["other.log", "no line that is an event"]);
    refused(&["run.log", "--run", "2"], 2, &["--run 2", "run.log has 1 run"]);
    refused(&["run.log", "--run", "0"], 2, &["a number from 1"]);
    refused(&["run.log", "--format", "png"], 2, &["html", "svg", "perfetto", "table"]);
    refused(&["run.log", "run.log", "--format", "svg"], 2, &["--format svg shows one run", "2"]);
    refused(&["run.log", "--gap-threshold", "0"], 2, &["above 0"]);
    refused(&["run.log", "--funcs", ","], 2, &["names no function"]);
    refused(&["run.log", "-o", "absent/page.html"], 1, &["writing absent/page.html"]);
    refused(&["run.log", "--format", "svg", "-o", "-", "--json", "-"], 2, &["both want stdout"]);
    refused(&["run.log", "-o", "./run.log"], 2, &["run.log is a log"]);
    refused(&["run.log", "--json", "run.log"], 2, &["run.log is a log"]);
    assert_eq!(folder.read("run.log"), text);
    // Of another version: both are named; the runs that can be read still can.
    let mut newer = Log::new();
    newer.add(10_000_000, "run", logs::header(&[], 7));
    folder.write("newer.log", text.clone() + &newer.text());
    refused(&["newer.log"], 1, &["run 2", "version 7", "reads version 1", "mailring 0.1.0"]);
    folder.well(&["newer.log", "--run", "1", "-o", "page.html"]);
}

#[test]
fn what_is_cut_or_broken_is_left_out() {
    let folder = Folder::new();
    let text = logs::sweep().text();
    let cut = &text[..text.trim_end().rfind('\n').expect("lines") - 40];
    folder.write("run.log", cut);
    let output = folder.trace(&["run.log", "-o", "page.html"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = cut.lines().count();
    assert!(
        said(&output).contains(&format!("line {lines}, the last one, is cut")),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("the run has no end"), "{}", said(&output));
    let page = folder.read("page.html");
    assert!(page.contains("the last one, is cut"), "the page says it too");
    // In the middle: each is named, many are counted.
    let broken =
        text.replacen('\n', "\n{\"ts\":1}\n[]\nx\n{\"type\":\"ready\",\"ts\":\"now\"}\n", 1);
    folder.write("run.log", broken);
    let output = folder.trace(&["run.log", "-o", "page.html"]);
    assert_eq!(output.status.code(), Some(0));
    for part in ["line 2", "line 4", "4 lines of", "are no events"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    // Lines that contradict each other, or tell of nothing else.
    let mut odd = Log::new();
    odd.add(0, "complete", json!({ "call_id": "x", "exec_time_s": -4.0 }));
    odd.add(
        5,
        "dispatch",
        json!({ "call_id": "y", "func": "f", "attempt": 3, "obj_ref_deps": ["y", "z", 4],
                                   "worker_id": "w", "caller": "y" }),
    );
    odd.add(2, "cancelled", json!({ "call_id": "y", "func": "f" }));
    odd.add(1, "ready", json!({ "call_id": "only ready" }));
    odd.add(9, "waiting", json!({ "call_id": "y", "for": 7, "what": { "a": [] } }));
    odd.add(9, "submitted", json!({ "call_id": "y", "func": "f", "resources": 9, "caller": "x" }));
    odd.add(3, "submitted", json!({ "call_id": "x", "func": "f", "caller": "y" }));
    odd.add(9, "worker_died", json!({}));
    folder.write("run.log", odd.text());
    for format in ["html", "svg", "perfetto", "table"] {
        folder.well(&["run.log", "--format", format, "-o", "out"]);
    }
    // A run without a call.
    let mut none = Log::new();
    none.add(0, "run", logs::header(&[], 1));
    folder.write("run.log", none.text());
    for format in ["html", "svg", "perfetto", "table"] {
        folder.well(&["run.log", "--format", format, "-o", "out"]);
    }
}

#[test]
fn nothing_of_a_log_is_markup() {
    let folder = Folder::new();
    folder.write("run.log", logs::hostile().text());
    // What the page draws from is one JSON text that no markup can end.
    folder.well(&["run.log", "-o", "page.html"]);
    let page = folder.read("page.html");
    let data = page.split_once("<script type=\"application/json\" id=\"data\">").expect("data").1;
    let data = data.split_once("</script>").expect("its end").0;
    assert!(!data.contains(['<', '>', '&', '\u{2028}']), "{data}");
    let data: Value = serde_json::from_str(data).expect("JSON");
    let names = data["runs"][0]["names"].as_array().expect("names");
    assert_eq!(names.len(), HOSTILE.len());
    for name in HOSTILE {
        assert!(names.contains(&json!(name)), "{name} is as it was");
    }
    assert_eq!(page.matches("<script").count(), 2, "none but ours");
    assert_eq!(page.matches("onerror").count(), data.to_string().matches("onerror").count());
    assert!(!page.contains("http://") && !page.contains("https://"), "it asks nobody");
    // The picture is well-formed, and has text where there was text.
    folder.well(&["run.log", "--format", "svg", "-o", "graph.svg"]);
    let svg = folder.read("graph.svg");
    let tree = roxmltree::Document::parse(&svg).expect("well-formed");
    let known = ["svg", "title", "style", "rect", "text", "g", "line", "path"];
    for node in tree.descendants().filter(roxmltree::Node::is_element) {
        assert!(known.contains(&node.tag_name().name()), "{:?}", node.tag_name());
        assert!(node.attributes().all(|attribute| !attribute.name().starts_with("on")));
    }
    assert!(tree.descendants().any(|node| node.text().is_some_and(|t| t.contains(HOSTILE[0]))));
    // CSV is quoted, and no cell is a formula.
    let csv = folder.well(&["run.log", "--format", "table"]);
    assert!(csv.contains("\"</script><img src=x onerror=\"\"window.pwned=1\"\">\",1,"), "{csv}");
    assert!(csv.contains("\"'=cmd|'/c calc'!A1,\"\"quoted\"\""), "{csv}");
    // Nothing that a terminal would obey.
    let mut cut = logs::hostile().text();
    cut.push_str("\u{1b}[31m\n");
    folder.write("cut.log", cut);
    let output = folder.trace(&["cut.log", "-o", "page.html", "--funcs", "\u{1b}[2J"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{}", said(&output));
}

#[test]
fn only_some_functions() {
    let folder = Folder::new();
    folder.write("run.log", logs::sweep().text());
    let words = ["run.log", "--format", "svg", "-o", "-", "--funcs", "rtl_sweep::build,nobody"];
    let output = folder.trace(&words);
    assert!(said(&output).contains("no call of nobody"), "{}", said(&output));
    let svg = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(svg.contains("build depth=8") && !svg.contains("simulate"), "{svg}");
}

/// A field of a protobuf message, by the rules of the wire alone.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn number(&self) -> u64 {
        match self {
            Self::Number(value) | Self::Fixed(value) => *value,
            Self::Bytes(_) => panic!("{self:?} is no number"),
        }
    }

    fn text(&self) -> String {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no text") };
        String::from_utf8(bytes.clone()).expect("UTF-8")
    }
}

struct Fields(Vec<(u32, Field)>);

impl Fields {
    fn read(bytes: &[u8]) -> Self {
        let (mut at, mut fields) = (0, Vec::new());
        let varint = |at: &mut usize| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[*at];
                *at += 1;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        while at < bytes.len() {
            let key = varint(&mut at);
            let field = match key & 7 {
                0 => Field::Number(varint(&mut at)),
                1 => {
                    at += 8;
                    Field::Fixed(u64::from_le_bytes(bytes[at - 8..at].try_into().expect("8 bytes")))
                }
                2 => {
                    let length = varint(&mut at) as usize;
                    at += length;
                    Field::Bytes(bytes[at - length..at].to_vec())
                }
                wire => panic!("wire type {wire}"),
            };
            fields.push((u32::try_from(key >> 3).expect("a field number"), field));
        }
        Self(fields)
    }

    fn all(&self, number: u32) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(known, _)| *known == number).map(|(_, field)| field)
    }

    fn one(&self, number: u32) -> Option<&Field> {
        self.all(number).next()
    }

    fn inner(&self, number: u32) -> Option<Self> {
        match self.one(number)? {
            Field::Bytes(bytes) => Some(Self::read(bytes)),
            other => panic!("{other:?} is no message"),
        }
    }
}

/// The numbers are those of Perfetto's `trace_packet.proto`, `track_event.proto` and
/// `track_descriptor.proto`, written down here once more.
#[test]
fn perfetto_reads_back() {
    let folder = Folder::new();
    folder.write("run.log", logs::sweep().text());
    folder.well(&["run.log", "--format", "perfetto", "-o", "trace"]);
    let trace = Fields::read(&std::fs::read(folder.path().join("trace")).expect("a trace"));
    let mut tracks = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let (mut slices, mut outgoing, mut incoming) = (Vec::new(), Vec::new(), Vec::new());
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut moments = Vec::new();
    let mut before = 0;
    for (at, (number, packet)) in trace.0.iter().enumerate() {
        assert_eq!(*number, 1, "a trace is packets alone");
        let Field::Bytes(bytes) = packet else { panic!("{packet:?}") };
        let packet = Fields::read(bytes);
        assert_eq!(packet.one(10), Some(&Field::Number(1)), "the sequence");
        assert_eq!(packet.one(13).is_some(), at == 0, "state is cleared once");
        if let Some(track) = packet.inner(60) {
            let uuid = track.one(1).expect("uuid").number();
            let name = track.one(2).map(Field::text);
            let name = name
                .unwrap_or_else(|| track.inner(3).expect("a process").one(6).expect("name").text());
            let parent = track.one(5).map_or(0, Field::number);
            assert!(parent == 0 || tracks.contains_key(&parent), "a parent comes first");
            assert!(tracks.insert(uuid, name).is_none(), "each track once");
            continue;
        }
        let event = packet.inner(11).expect("an event");
        let ts = packet.one(8).expect("a time").number();
        assert!(ts >= before, "in order");
        before = ts;
        let track = event.one(11).expect("a track").number();
        let name = event.one(23).map(Field::text);
        assert!(tracks.contains_key(&track));
        match event.one(9).expect("a type").number() {
            1 => {
                open.entry(track).or_default().push((name.expect("a name"), ts));
                outgoing.extend(event.all(47).map(Field::number));
                incoming.extend(event.all(48).map(Field::number));
            }
            2 => {
                let (name, from) = open.get_mut(&track).and_then(Vec::pop).expect("it had begun");
                slices.push((tracks[&track].clone(), name, from, ts));
            }
            3 => moments.push(name.expect("a name")),
            4 => counts
                .entry(tracks[&track].clone())
                .or_default()
                .push(event.one(30).expect("a value").number()),
            other => panic!("type {other}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "all have ended");
    let find = |name: &str| slices.iter().find(|slice| slice.1 == name).expect("a slice");
    let (track, _, from, to) = find("build depth=8");
    assert_eq!((track.as_str(), to - from), ("eda/0", 565_000_000));
    assert!(*from > logs::BEGIN as u64 * 1000);
    assert_eq!(
        slices.iter().filter(|slice| slice.1 == "simulate burst depth=4").count(),
        2,
        "attempts"
    );
    assert_eq!(slices.iter().filter(|slice| slice.1 == "set-up").count(), 3);
    assert!(slices.iter().any(|slice| slice.1 == "build depth=4: waiting for verilator"));
    // Each edge leaves once; some go to calls that never ran, or come from such.
    let calls = |list: &[u64]| list.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(calls(&outgoing), outgoing.len());
    assert_eq!(calls(&incoming), incoming.len());
    assert!(
        outgoing.iter().filter(|flow| incoming.contains(flow)).count() >= 14,
        "{outgoing:?} {incoming:?}"
    );
    let running = &counts["calls: running"];
    assert_eq!(running.iter().max(), Some(&3));
    assert_eq!(running.last(), Some(&0));
    assert!(
        moments.iter().any(|name| name.starts_with("cpu/1 died: killed by signal 9")),
        "{moments:?}"
    );
    assert!(moments.contains(&"served: build depth=2".to_owned()), "{moments:?}");
    assert!(moments.contains(&"cache_full".to_owned()), "{moments:?}");
}

/// What overlaps on a worker stands on tracks of its own.
#[test]
fn perfetto_overlaps() {
    let folder = Folder::new();
    let mut log = Log::new();
    for at in 0..3_i64 {
        let id = format!("c{at}");
        log.add(
            at * 10,
            "dispatch",
            json!({ "call_id": id, "func": "f", "worker_id": "w", "attempt": 1 }),
        );
        log.add(
            100 + at * 10,
            "complete",
            json!({ "call_id": id, "func": "f", "exec_time_s": 1e-4, "attempt": 1 }),
        );
    }
    folder.write("run.log", log.text());
    let trace = folder.path().join("trace");
    folder.well(&["run.log", "--format", "perfetto", "-o", "trace"]);
    let trace = Fields::read(&std::fs::read(trace).expect("a trace"));
    let mut names = Vec::new();
    for (_, packet) in &trace.0 {
        let Field::Bytes(bytes) = packet else { continue };
        if let Some(track) = Fields::read(bytes).inner(60) {
            names.extend(track.one(2).map(Field::text).filter(|name| name.starts_with('w')));
        }
    }
    assert_eq!(names, ["w", "w (2)", "w (3)"]);
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    let help = folder.well(&["--help"]);
    for part in ["Examples:", "--format perfetto", "Exit codes:", "--gap-threshold", "--funcs"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
