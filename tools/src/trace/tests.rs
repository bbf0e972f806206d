//! What stands by itself; the files as a whole are tested in `tests/trace`.

use std::io::Write;

use super::lanes::lanes;
use super::model::{Phase, duration};
use super::reader::{Log, Which};
use super::summary::{Summary, Times};
use super::{html, path, perfetto, svg};

#[test]
fn lanes_are_as_few_as_can_be() {
    assert_eq!(lanes([]), (vec![], 0));
    assert_eq!(lanes([(0, 5), (5, 9), (9, 9), (9, 12)]), (vec![0, 0, 0, 0], 1));
    assert_eq!(lanes([(0, 9), (1, 3), (2, 8), (4, 5), (9, 10)]), (vec![0, 1, 2, 1, 0], 3));
}

#[test]
fn times_for_people() {
    let cases = [
        (-4, "0 us"),
        (999, "999 us"),
        (1_000, "1.00 ms"),
        (12_345, "12.3 ms"),
        (1_240_000, "1.24 s"),
        (125_000_000, "2 min 5 s"),
        (7_260_000_000, "2 h 1 min"),
    ];
    for (us, text) in cases {
        assert_eq!(duration(us), text);
    }
}

#[test]
fn deviation_of_a_sample() {
    assert_eq!(Times::of(&[]), None);
    let times = Times::of(&[1.0, 3.0]).expect("two");
    assert_eq!((times.mean, times.min, times.max, times.total), (2.0, 1.0, 3.0, 4.0));
    assert!((times.deviation - 2.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!(Times::of(&[7.0]).expect("one").deviation, 0.0);
}

#[test]
fn which_run() {
    assert_eq!("last".parse(), Ok(Which::Last));
    assert_eq!("all".parse(), Ok(Which::All));
    assert_eq!("12".parse(), Ok(Which::Number(12)));
    for bad in ["0", "-1", "1.5", "first", ""] {
        assert!(bad.parse::<Which>().is_err(), "{bad:?}");
    }
}

fn read(lines: &str) -> super::model::Run {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    let log = Log::read(file.path(), 600.0).unwrap_or_else(|why| panic!("{why:?}"));
    log.choose(Which::Last).unwrap_or_else(|why| panic!("{why:?}")).remove(0)
}

/// The end of a call may be written before its beginning.
#[test]
fn order_of_lines_does_not_matter() {
    let lines = [
        r#"{"type":"submitted","ts":10.0,"call_id":"a","func":"f"}"#,
        r#"{"type":"dispatch","ts":10.1,"call_id":"a","func":"f","attempt":1,"worker_id":"w","pid":3}"#,
        r#"{"type":"worker_died","ts":10.2,"worker_id":"w","pid":3,"how":"killed"}"#,
        r#"{"type":"failed","ts":10.3,"call_id":"a","func":"f","attempt":1,"kind":"worker_died","message":"m","final":false}"#,
        r#"{"type":"dispatch","ts":10.4,"call_id":"a","func":"f","attempt":2,"worker_id":"v","pid":4}"#,
        r#"{"type":"setup_done","ts":10.5,"call_id":"a","attempt":2}"#,
        r#"{"type":"complete","ts":10.7,"call_id":"a","func":"f","attempt":2,"exec_time_s":0.2}"#,
    ];
    let forward = read(&lines.join("\n"));
    let mut back: Vec<_> = lines.to_vec();
    back.reverse();
    let back = read(&back.join("\n"));
    let keys = |run: &super::model::Run| -> Vec<(String, i64)> {
        let spans = run.calls[0].spans.iter();
        spans.map(|span| (run.reasons[span.reason].key.clone(), span.to - span.from)).collect()
    };
    let expected = [
        ("overhead", 100_000),
        ("lost", 200_000),
        ("retry", 100_000),
        ("setup", 100_000),
        ("running", 200_000),
    ];
    assert_eq!(keys(&forward), expected.map(|(key, time)| (key.to_owned(), time)));
    assert_eq!(keys(&back), keys(&forward));
    assert_eq!(back.calls[0].attempts.len(), 2);
}

/// Bodies that wait for the calls that they make: the path goes through them, without a gap.
#[test]
fn path_through_nested_calls() {
    let line = |kind: &str, ts: f64, call: &str, more: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"ts\":{ts},\"call_id\":\"{call}\",\"func\":\"{call}\"{more}}}\n"
        )
    };
    let run = [
        line("submitted", 1.0, "outer", ""),
        line("dispatch", 1.0, "outer", ",\"worker_id\":\"v\",\"attempt\":1"),
        line("submitted", 2.0, "inner", ",\"caller\":\"outer\""),
        line("dispatch", 2.0, "inner", ",\"worker_id\":\"w\",\"attempt\":1"),
        line("complete", 5.0, "inner", ",\"attempt\":1,\"exec_time_s\":3"),
        line("complete", 6.0, "outer", ",\"attempt\":1,\"exec_time_s\":5"),
    ];
    let run = read(&run.concat());
    let steps: Vec<_> = path::critical_path(&run)
        .into_iter()
        .map(|step| {
            (step.call.map(|call| run.functions[run.calls[call].func].clone()), step.from, step.to)
        })
        .collect();
    let call = |name: &str, from, to| (Some(name.to_owned()), from, to);
    let expected = [
        call("outer", 0, 1_000_000),
        call("inner", 1_000_000, 4_000_000),
        call("outer", 4_000_000, 5_000_000),
    ];
    assert_eq!(steps, expected);
}

/// Callers and inputs of a foreign log may go round in circles.
#[test]
fn circles_end() {
    let mut lines = String::new();
    for (call, other) in [("a", "b"), ("b", "a")] {
        lines += &format!(
            "{{\"type\":\"submitted\",\"ts\":1,\"call_id\":\"{call}\",\"func\":\"f\",\"caller\":\"{other}\",\"obj_ref_deps\":[\"{other}\"]}}\n\
             {{\"type\":\"dispatch\",\"ts\":1,\"call_id\":\"{call}\",\"worker_id\":\"w\",\"attempt\":1}}\n\
             {{\"type\":\"complete\",\"ts\":1,\"call_id\":\"{call}\",\"attempt\":1,\"exec_time_s\":0}}\n"
        );
    }
    let run = read(&lines);
    assert_eq!(run.calls.len(), 2);
    let _ = path::critical_path(&run);
    let _ = path::longest_chain(&run);
    assert!(html::page(&[run], &[]).contains("</html>"));
}

#[test]
fn policy_names_our_script() {
    // `printf abc | openssl dgst -sha256 -binary | base64`
    assert_eq!(html::hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

/// What a body calls as an ordinary function is a part of it, and is counted once.
#[test]
fn local_calls_inside() {
    let run = read(
        r#"{"type":"dispatch","ts":1,"call_id":"a","func":"f","attempt":1,"worker_id":"w"}
{"type":"local_start","ts":2,"call_id":"l","func":"g","caller":"a","worker_id":"w"}
{"type":"local_end","ts":3,"call_id":"l","func":"g","caller":"a","worker_id":"w","exec_time_s":1,"extra":{"n":4}}
{"type":"complete","ts":5,"call_id":"a","func":"f","attempt":1,"exec_time_s":4}"#,
    );
    let summary = Summary::of(&run);
    assert_eq!(summary.reasons[Phase::Running as usize], 4_000_000);
    assert_eq!((summary.workers[0].running, summary.workers[0].busy), (4_000_000, 4_000_000));
    assert_eq!(summary.path.len(), 1);
    assert_eq!(summary.extras["n"], [4.0]);
    assert_eq!(summary.totals.local, 1);
}

#[path = "../../tests/trace/logs.rs"]
#[allow(dead_code)]
mod logs;

/// Logs are foreign: lines are lost, doubled, in another order, or have other values.
#[test]
fn whatever_a_log_says_is_shown() {
    let base = logs::sweep().text() + &logs::hostile().text() + &logs::reference(50_000_000).text();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..200 {
        let mut lines: Vec<Vec<u8>> = base.lines().map(|line| line.as_bytes().to_vec()).collect();
        for _ in 0..=random(60) {
            let (at, other) = (random(lines.len()), random(lines.len()));
            match random(6) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines.push(lines[at].clone()),
                3 => lines[at] = lines[other].clone(),
                4 => {
                    // A digit: another time, call, worker or attempt.
                    let digits: Vec<_> =
                        (0..lines[at].len()).filter(|&b| lines[at][b].is_ascii_digit()).collect();
                    if let Some(&byte) = digits.get(random(digits.len().max(1))) {
                        lines[at][byte] = b'0' + random(10) as u8;
                    }
                }
                _ => {
                    let byte = random(lines[at].len().max(1));
                    lines[at].truncate(byte);
                }
            }
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&lines.join(&b'\n')).expect("written");
        let log = Log::read(file.path(), 600.0).unwrap_or_else(|why| panic!("{round}: {why:?}"));
        // One whose header has become of another version is refused; most are not.
        let Ok(runs) = log.choose(Which::All) else { continue };
        for run in &runs {
            for call in &run.calls {
                assert!(
                    call.spans.windows(2).all(|two| two[0].to <= two[1].from),
                    "{round}: {call:?}"
                );
            }
            let steps = path::critical_path(run);
            assert!(steps.windows(2).all(|two| two[0].to <= two[1].from), "{round}: {steps:?}");
            let summary = Summary::of(run);
            assert_eq!(summary.totals.calls, run.calls.len());
            let _ = summary.json(run);
            let svg = svg::svg(run, None);
            assert!(roxmltree::Document::parse(&svg).is_ok(), "{round}");
            let _ = perfetto::trace(run);
        }
        assert!(html::page(&runs, &[]).ends_with("</html>\n"));
    }
}
