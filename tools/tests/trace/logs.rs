//! Logs as the profile writes them, of runs that are imagined: a small scheduler with labels, deaths
//! and failures decides what happened when.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// When the imagined runs begin, in microseconds since the epoch.
pub(crate) const BEGIN: i64 = 1_795_894_800_000_000;

/// A call that is to happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) func: String,
    pub(crate) name: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) submitted: i64,
    pub(crate) deps: Vec<usize>,
    pub(crate) caller: Option<usize>,
    /// The label that its worker needs.
    pub(crate) label: Option<&'static str>,
    pub(crate) setup: i64,
    pub(crate) takes: i64,
    /// The worker dies in the first attempt, after this time.
    pub(crate) dies: Option<i64>,
    /// The body returns this error.
    pub(crate) fails: Option<String>,
    pub(crate) served: bool,
    pub(crate) bypassed: bool,
    pub(crate) extra: Option<Value>,
}

pub(crate) struct Log {
    lines: Vec<(i64, Value)>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: i64, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        self.lines.push((at, fields));
    }

    pub(crate) fn text(mut self) -> String {
        self.lines.sort_by_key(|(at, _)| *at);
        let mut out = String::new();
        for (at, fields) in &self.lines {
            // As digits, since a float of this size rounds.
            let ts = BEGIN + at;
            let line = fields.to_string();
            let rest = line.strip_prefix('{').expect("an object");
            let _ = writeln!(out, "{{\"ts\":{}.{:06},{rest}", ts / 1_000_000, ts % 1_000_000);
        }
        out
    }
}

pub(crate) fn id(at: usize) -> String {
    format!("5f0c9a1be2d7_{:06}", at + 1)
}

pub(crate) fn header(workers: &[(&str, &str, &[&str])], version: u64) -> Value {
    let workers: Vec<_> = workers
        .iter()
        .map(|(id, node, labels)| {
            let mut resources = BTreeMap::from([("cpus", 1.0)]);
            resources.extend(labels.iter().map(|label| (*label, 1.0)));
            json!({ "worker_id": id, "node_id": node, "resources": resources })
        })
        .collect();
    json!({
        "version": version, "run": "5f0c9a1be2d7", "host": "bench-07", "pid": 4711,
        "program": "examples/rtl_sweep", "mode": "process", "workers": workers, "mailring": "0.1.0",
    })
}

/// Runs the plan on these workers: id, node and labels.
pub(crate) fn simulate(workers: &[(&str, &str, &[&str])], plans: &[Plan]) -> Log {
    let mut log = Log::new();
    log.add(-2_000, "run", header(workers, 1));
    let mut free = vec![0_i64; workers.len()];
    let mut pids: Vec<u64> = (0..workers.len() as u64).map(|at| 5000 + at).collect();
    let mut ends = vec![0_i64; plans.len()];
    let mut begins = vec![0_i64; plans.len()];
    let mut failed: Vec<bool> = vec![false; plans.len()];
    for (at, plan) in plans.iter().enumerate() {
        let (id, func) = (id(at), &plan.func);
        let submitted = plan.submitted + plan.caller.map_or(0, |caller| begins[caller]);
        let deps: Vec<_> = plan.deps.iter().map(|&dep| self::id(dep)).collect();
        let mut resources = BTreeMap::from([("cpus", 1.0)]);
        resources.extend(plan.label.map(|label| (label, 1.0)));
        let mut fields = json!({
            "call_id": id, "func": func, "caller": plan.caller.map(self::id),
            "caller_worker_id": "driver", "resources": resources, "obj_ref_deps": deps,
            "is_remote": true, "kind": "task",
        });
        for (key, text) in [("display_name", &plan.name), ("tag", &plan.tag)] {
            if let Some(text) = text {
                fields[key] = json!(text);
            }
        }
        log.add(submitted, "submitted", fields);
        if let Some(&dep) = plan.deps.iter().find(|&&dep| failed[dep]) {
            let end = ends[dep].max(submitted) + 40;
            let why = format!("its input {} has no value", self::id(dep));
            log.add(
                end,
                "cancelled",
                json!({ "call_id": id, "func": func, "attempt": 0,
                                              "by": "dependency", "message": why }),
            );
            (failed[at], ends[at]) = (true, end);
            continue;
        }
        let ready = plan.deps.iter().map(|&dep| ends[dep]).max().unwrap_or(0).max(submitted) + 5;
        log.add(ready, "ready", json!({ "call_id": id }));
        if plan.served {
            log.add(
                ready + 20,
                "served",
                json!({ "call_id": id, "func": func, "from": "cache", "tag": plan.tag }),
            );
            ends[at] = ready + 20;
            continue;
        }
        if plan.bypassed {
            log.add(
                ready + 1,
                "bypassed",
                json!({ "call_id": id, "func": func, "provider": "file" }),
            );
        }
        let mut from = ready;
        for attempt in 1.. {
            let fits =
                |worker: &usize| plan.label.is_none_or(|label| workers[*worker].2.contains(&label));
            let worker = (0..workers.len())
                .filter(fits)
                .min_by_key(|&worker| free[worker])
                .expect("some worker has the label");
            let start = free[worker].max(from) + 15;
            if start > from + 15 {
                let what = json!([plan.label.unwrap_or("cpus")]);
                log.add(
                    from + 3,
                    "waiting",
                    json!({ "call_id": id, "for": "resources", "what": what }),
                );
            }
            begins[at] = start + plan.setup;
            let (worker_id, node) = (workers[worker].0, workers[worker].1);
            log.add(
                start,
                "dispatch",
                json!({
                    "call_id": id, "func": func, "is_remote": true, "caller_worker_id": "driver",
                    "worker_ip": "127.0.0.1", "worker_id": worker_id, "node_id": node,
                    "resources": resources, "obj_ref_deps": deps, "attempt": attempt,
                    "pid": pids[worker],
                }),
            );
            if let Some(dies) = plan.dies.filter(|_| attempt == 1) {
                let end = start + dies;
                log.add(
                    end,
                    "worker_died",
                    json!({ "worker_id": worker_id, "node_id": node,
                    "pid": pids[worker], "how": "killed by signal 9 (SIGKILL)", "signal": 9 }),
                );
                log.add(
                    end + 30,
                    "failed",
                    json!({ "call_id": id, "func": func, "attempt": attempt,
                    "kind": "worker_died", "message": "worker process was killed by signal 9",
                    "final": false, "worker_id": worker_id, "pid": pids[worker], "signal": 9 }),
                );
                log.add(
                    end + 40,
                    "retried",
                    json!({ "call_id": id, "attempt": attempt + 1,
                    "reason": "worker_died" }),
                );
                pids[worker] += 100;
                free[worker] = end + 1_500;
                from = end + 40;
                continue;
            }
            if plan.setup > 0 {
                log.add(
                    start + plan.setup,
                    "setup_done",
                    json!({ "call_id": id, "attempt": attempt }),
                );
            }
            let end = start + plan.setup + plan.takes;
            if let Some(why) = &plan.fails {
                log.add(
                    end,
                    "failed",
                    json!({ "call_id": id, "func": func, "attempt": attempt,
                    "kind": "error", "message": why, "final": true, "worker_id": worker_id,
                    "pid": pids[worker] }),
                );
                failed[at] = true;
            } else {
                let mut fields = json!({
                    "call_id": id, "func": func, "exec_time_s": plan.takes as f64 / 1e6,
                    "worker_ip": "127.0.0.1", "worker_id": worker_id, "node_id": node,
                    "is_remote": true, "attempt": attempt, "pid": pids[worker],
                    "bytes_in": 2048 + at * 77, "bytes_out": 600 + at * 1900,
                });
                if let Some(extra) = &plan.extra {
                    fields["extra"] = extra.clone();
                }
                log.add(end, "complete", fields);
            }
            free[worker] = end + 8;
            ends[at] = end;
            break;
        }
    }
    log.lines.sort_by_key(|(at, _)| *at);
    let end = log.lines.last().map_or(0, |(at, _)| *at) + 900;
    log.add(
        end,
        "run_end",
        json!({ "run": "5f0c9a1be2d7", "seconds": end as f64 / 1e6,
                                    "totals": { "submitted": plans.len() } }),
    );
    log
}

/// A sweep of twenty calls in which most things happen that can happen.
pub(crate) fn sweep() -> Log {
    let mut plans = Vec::new();
    let mut add = |plan: Plan| {
        plans.push(plan);
        plans.len() - 1
    };
    let call = |func: &str, takes: i64, deps: &[usize]| Plan {
        func: format!("rtl_sweep::{func}"),
        takes,
        deps: deps.to_vec(),
        ..Plan::default()
    };
    let mut reports = Vec::new();
    for (at, depth) in [2, 4, 8, 16].into_iter().enumerate() {
        let named = |name: &str| Some(format!("{name} depth={depth}"));
        let generated = add(Plan {
            name: named("generate"),
            submitted: 200 * at as i64,
            ..call("generate", 42_000 + 9_000 * at as i64, &[])
        });
        let built = add(Plan {
            name: named("build"),
            tag: named("build"),
            submitted: 200 * at as i64 + 60,
            label: Some("verilator"),
            setup: 35_000,
            served: at == 0,
            fails: (at == 3).then(|| {
                "verilator: %Error: fifo.v:17: signal 'tail' is driven twice\n  17 | assign tail = head;"
                    .to_owned()
            }),
            extra: Some(json!({ "warnings": at, "log": "build.log" })),
            ..call("build", 410_000 + 60_000 * at as i64, &[generated])
        });
        for (which, load) in ["stream", "burst"].into_iter().enumerate() {
            let cycles = 120_000 + 3_700 * (at as i64 + 1) * (which as i64 + 2);
            reports.push(add(Plan {
                name: Some(format!("simulate {load} depth={depth}")),
                submitted: 200 * at as i64 + 90,
                dies: (at == 1 && which == 1).then_some(140_000),
                bypassed: at == 2 && which == 0,
                extra: Some(json!({ "simulation_cycles": cycles, "ipc": 0.7 + at as f64 / 9.0 })),
                ..call("simulate", 180_000 + 95_000 * at as i64 + 70_000 * which as i64, &[built])
            }));
        }
    }
    let collected = add(Plan { submitted: 900, ..call("collect", 31_000, &reports[..6]) });
    add(Plan { submitted: 950, ..call("report::table", 22_000, &[collected]) });
    add(Plan { submitted: 6_000, caller: Some(collected), ..call("sort", 9_000, &[]) });
    add(Plan {
        submitted: 960,
        name: Some("report page".to_owned()),
        ..call("report::page", 64_000, &[collected])
    });
    let workers: &[(&str, &str, &[&str])] =
        &[("cpu/0", "cpu", &[]), ("cpu/1", "cpu", &[]), ("eda/0", "eda", &["verilator"])];
    let mut log = simulate(workers, &plans);
    log.add(
        150_000,
        "cache_full",
        json!({ "worker_id": "cpu/1", "call_id": id(2), "used": "1.9 GB", "evicted": 12 }),
    );
    log.add(
        700,
        "local_start",
        json!({ "call_id": "5f0c9a1be2d7_l4711-000001",
        "func": "rtl_sweep::parameters", "worker_ip": "127.0.0.1", "worker_id": "driver",
        "node_id": "driver", "pid": 4711, "caller": null, "obj_ref_deps": [] }),
    );
    log.add(
        9_700,
        "local_end",
        json!({ "call_id": "5f0c9a1be2d7_l4711-000001",
        "func": "rtl_sweep::parameters", "exec_time_s": 0.009, "worker_ip": "127.0.0.1",
        "worker_id": "driver", "node_id": "driver", "pid": 4711, "caller": null,
        "extra": { "points": 4 } }),
    );
    log
}

/// `count` calls in waves, on eight workers.
pub(crate) fn many(count: usize) -> Log {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let names = ["load", "tile::factor", "tile::solve", "tile::update", "reduce", "check"];
    let mut plans: Vec<Plan> = Vec::with_capacity(count);
    for at in 0..count {
        let which = [0, 1, 2, 2, 3, 3, 3, 3, 3, 4, 5][random(11) as usize];
        let mut deps: Vec<usize> = Vec::new();
        for _ in 0..random(3) {
            if at > 20 {
                deps.push(at - 1 - random(at.min(160) as u64) as usize);
            }
        }
        deps.sort_unstable();
        deps.dedup();
        plans.push(Plan {
            func: names[which].to_owned(),
            submitted: at as i64 * 45 + (at / 4_000) as i64 * 90_000,
            takes: 120 + random(400 + 90 * which as u64) as i64,
            deps,
            label: (which == 4).then_some("board"),
            dies: (at % 7_000 == 6_000).then_some(90),
            fails: (at % 5_000 == 4_321).then(|| "check: residual 1.3e-3 is above 1e-9".to_owned()),
            ..Plan::default()
        });
    }
    let workers: &[(&str, &str, &[&str])] = &[
        ("cpu/0", "cpu", &[]),
        ("cpu/1", "cpu", &[]),
        ("cpu/2", "cpu", &[]),
        ("cpu/3", "cpu", &[]),
        ("cpu/4", "cpu", &[]),
        ("cpu/5", "cpu", &[]),
        ("lab/0", "lab", &["board"]),
        ("lab/1", "lab", &["board"]),
    ];
    simulate(workers, &plans)
}

/// What markup, JSON, CSV and terminals could take for something else.
pub(crate) const HOSTILE: [&str; 4] = [
    "</script><img src=x onerror=\"window.pwned=1\">",
    "<!--<script>window.pwned=2</script>]]>",
    "=cmd|'/c calc'!A1,\"quoted\"\u{1b}[31m\n\u{2028}{{data}}",
    "'&amp;&#60;b&#62;",
];

/// Every text that a log can hold is hostile.
pub(crate) fn hostile() -> Log {
    let mut log = Log::new();
    let [a, b, c, d] = HOSTILE;
    log.add(
        0,
        "run",
        json!({ "version": 1, "run": a, "host": b, "pid": 7, "program": c, "mode": d,
        "mailring": a, "workers": [{ "worker_id": a, "node_id": b, "resources": { a: 1.0 } }] }),
    );
    for (at, name) in HOSTILE.into_iter().enumerate() {
        let id = format!("{name}{at}");
        let from = 1_000 + 20_000 * at as i64;
        log.add(
            from,
            "submitted",
            json!({ "call_id": id, "func": name, "display_name": name,
            "tag": name, "kind": name, "caller": null, "resources": { name: 1.0 },
            "obj_ref_deps": [], "is_remote": true }),
        );
        log.add(from + 10, "waiting", json!({ "call_id": id, "for": "resources", "what": [name] }));
        log.add(
            from + 500,
            "dispatch",
            json!({ "call_id": id, "func": name, "worker_id": a,
            "node_id": b, "attempt": 1, "pid": 9 }),
        );
        if at == 1 {
            log.add(
                from + 9_000,
                "failed",
                json!({ "call_id": id, "func": name, "attempt": 1,
                "kind": name, "message": name, "final": true, "worker_id": a }),
            );
        } else {
            log.add(
                from + 9_000,
                "complete",
                json!({ "call_id": id, "func": name, "attempt": 1,
                "exec_time_s": 0.0085, "worker_id": a, "extra": { name: name, "n": 1 } }),
            );
        }
    }
    log.add(60_000, "worker_died", json!({ "worker_id": a, "pid": 9, "how": b, "replaced_by": c }));
    log.add(61_000, a, json!({ "worker_id": d, b: c }));
    log
}

/// As CHIA's collector writes it: no header, no submits, times of four decimals.
pub(crate) fn reference(gap: i64) -> Log {
    let mut log = Log::new();
    for run in 0..2 {
        let base = run * gap;
        for at in 0..3_i64 {
            let id = format!("w{run}_{at:06}");
            let deps: Vec<_> =
                (at > 0).then(|| format!("w{run}_{:06}", at - 1)).into_iter().collect();
            let from = base + at * 2_000_000;
            log.add(
                from,
                "dispatch",
                json!({ "call_id": id, "func": "step", "is_remote": true,
                "caller_worker_id": "head", "worker_ip": "10.0.0.2", "worker_id": "aa11",
                "node_id": "n1", "resources": {}, "obj_ref_deps": deps }),
            );
            // Of a call that failed there is no end.
            if at != 1 {
                let takes = 1_000_000 + at * 500_000;
                log.add(
                    from + takes,
                    "complete",
                    json!({ "call_id": id, "func": "step",
                    "exec_time_s": takes as f64 / 1e6, "worker_ip": "10.0.0.2",
                    "worker_id": "aa11", "node_id": "n1", "is_remote": true,
                    "extra": { "cost_usd": 0.25 } }),
                );
            }
        }
    }
    log
}
