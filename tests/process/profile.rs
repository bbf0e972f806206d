//! The profile of an executor: what stands in the log of its tasks.

use std::path::Path;

use mailring::{Executor, Mode};
use serde_json::Value;
use testkit::bodies::{fail, nop};
use testkit::{BOTH, BoxError, args, at, config, eventually, kill, small};

fn read(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    // While the log is written, its last line may not be whole.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

fn ts(line: &Value) -> f64 {
    line["ts"].as_f64().unwrap()
}

/// An executor with a profile, whose functions are `nap`, `fail` and `nop`.
fn executor(mode: Mode, log: &Path) -> (Executor, [mailring::Callable; 3]) {
    let mut builder = small(mode, 2).profile(log);
    let nap = builder.register("nap", |_, _, _| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok::<(), BoxError>(())
    });
    let functions = [
        nap.unwrap(),
        builder.register("fail", fail).unwrap(),
        builder.register("nop", nop).unwrap(),
    ];
    (builder.build().unwrap(), functions)
}

pub(crate) fn each_task_from_submit_to_end() {
    for mode in BOTH {
        let directory = tempfile::tempdir().unwrap();
        let (exec, [nap, fail, _]) = executor(mode, directory.path());
        let cells = exec.buffer::<u64>(2).unwrap();
        exec.run(|orch| {
            orch.submit(nap, args().output(at(&cells, 0)), config())?;
            orch.submit(nap, args().input(at(&cells, 0)).output(at(&cells, 1)), config())?;
            orch.submit_group(nap, vec![args(), args()], config())?;
            Ok(())
        })
        .unwrap();
        assert!(exec.run(|orch| orch.submit(fail, args(), config()).map(drop)).is_err());
        drop((cells, exec));
        let lines = read(&directory.path().join("mailring-profile.log"));
        assert_eq!(lines[0]["type"], "run");
        assert_eq!(lines[0]["workers"].as_array().unwrap().len(), 2);
        let submitted = of(&lines, "submitted");
        assert_eq!(submitted.len(), 5, "{lines:#?}");
        assert_eq!(
            submitted[1]["obj_ref_deps"],
            Value::from(vec![submitted[0]["call_id"].clone()])
        );
        for one in &submitted {
            assert_eq!(one["kind"], "engine");
            let own = |kind| {
                let all = of(&lines, kind);
                all.into_iter().filter(|line| line["call_id"] == one["call_id"]).collect::<Vec<_>>()
            };
            let [dispatch] = own("dispatch")[..] else { panic!("{one} {lines:#?}") };
            assert_eq!(dispatch["attempt"], 1, "{dispatch}");
            assert!(ts(one) <= ts(dispatch) + 1e-6);
            if one["func"] == "fail" {
                assert_eq!(own("failed").len(), 1);
                continue;
            }
            let [complete] = own("complete")[..] else { panic!("{one} {lines:#?}") };
            assert!(complete["exec_time_s"].as_f64().unwrap() >= 0.02, "{complete}");
            assert!(ts(complete) >= ts(dispatch) + 0.02);
        }
        let end = lines.last().unwrap();
        assert_eq!((&end["totals"]["completed"], &end["totals"]["failed"]), (&4.into(), &1.into()));
    }
}

pub(crate) fn none_of_many_is_lost_and_a_death_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (exec, [nap, _, nop]) = executor(Mode::Process, directory.path());
    exec.run(|orch| (0..20_000).try_for_each(|_| orch.submit(nop, args(), config()).map(drop)))
        .unwrap();
    let log = directory.path().join("mailring-profile.log");
    let pids = |lines: &[Value]| -> Vec<i32> {
        of(lines, "dispatch").iter().map(|line| line["pid"].as_i64().unwrap() as i32).collect()
    };
    eventually("some are written", || !pids(&read(&log)).is_empty());
    kill(pids(&read(&log))[0], libc::SIGKILL);
    eventually("the death is written", || {
        let _ = exec.run(|orch| orch.submit(nap, args(), config()).map(drop));
        of(&read(&log), "worker_died").len() == 1
    });
    drop(exec);
    let lines = read(&log);
    let count = |kind: &str| of(&lines, kind).iter().filter(|line| line["func"] == "nop").count();
    let lost: u64 = of(&lines, "lost").iter().map(|line| line["events"].as_u64().unwrap()).sum();
    assert_eq!(count("submitted"), 20_000);
    assert_eq!(count("complete") as u64 + lost, 20_000, "{lost} lost");
    assert_eq!(count("dispatch"), count("complete"));
}

pub(crate) fn a_log_that_cannot_be_opened() {
    let built = small(Mode::Thread, 1).profile("/nowhere/at/all").build();
    let error = built.map(drop).unwrap_err().to_string();
    assert!(error.contains("log of the profile"), "{error}");
}
