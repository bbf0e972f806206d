//! `--format html`: one file that needs nothing else. The page (`page/`) draws what is computed here;
//! what comes from a log is data to it, and reaches the document as text only.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::model::{Call, Run, duration};
use super::summary::{Summary, Times};
use super::svg::{COLOURS, escaped};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One script, in order: what it knows, how it draws, what can be done.
const SCRIPT: &str = concat!(
    include_str!("page/data.js"),
    include_str!("page/timeline.js"),
    include_str!("page/panels.js"),
    include_str!("page/main.js")
);

/// The page of these runs, which shows the last one first. `functions`: those not hidden, if any.
pub(super) fn page(runs: &[Run], functions: &[String]) -> String {
    let title = runs.last().map_or("mailring trace", Run::title);
    // A policy by content: even markup that had slipped through would run nothing and load nothing.
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:",
        hash(SCRIPT),
        hash(STYLE)
    );
    // In one pass, so that nothing of a log is taken for a place.
    let mut page = String::with_capacity(PAGE.len() + SCRIPT.len() + STYLE.len());
    let mut rest = PAGE;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        page += before;
        match name {
            "title" => page += &escaped(title),
            "policy" => page += &policy,
            "style" => page += STYLE,
            "script" => page += SCRIPT,
            "data" => page += &data(runs, functions),
            "version" => page += env!("CARGO_PKG_VERSION"),
            _ => {}
        }
        rest = behind;
    }
    page + rest
}

/// What the page draws, as JSON that ends no script and begins no comment.
pub(super) fn data(runs: &[Run], functions: &[String]) -> String {
    let runs: Vec<_> = runs.iter().map(run).collect();
    let data = json!({ "runs": runs, "only": functions, "colours": COLOURS });
    let mut out = String::new();
    for c in data.to_string().chars() {
        match c {
            '<' => out += "\\u003c",
            '>' => out += "\\u003e",
            '&' => out += "\\u0026",
            '\u{2028}' => out += "\\u2028",
            '\u{2029}' => out += "\\u2029",
            c => out.push(c),
        }
    }
    out
}

/// SHA-256 in base64, as a policy names it.
pub(super) fn hash(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in Sha256::digest(text.as_bytes()).chunks(3) {
        let bits =
            (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { letter as char } else { '=' });
        }
    }
    out
}

/// A run as the page wants it: calls are short, since there are many.
fn run(run: &Run) -> Value {
    let summary = Summary::of(run);
    let about = &run.about;
    let totals = &summary.totals;
    let workers: Vec<_> = run.workers.iter().zip(&summary.workers).map(|(worker, share)| json!({
        "id": worker.id, "node": worker.node, "resources": worker.resources, "pids": worker.pids,
        "program": worker.is_program, "calls": share.calls, "running": share.running,
        "setup": share.setup, "lost": share.lost, "busy": share.busy,
    })).collect();
    let functions: Vec<_> = summary.functions.iter().map(|function| {
        let times = Times::of(&function.times);
        json!({
            "name": function.name, "calls": function.calls, "done": function.times.len(),
            "failed": function.failed, "cancelled": function.cancelled, "served": function.served,
            "retries": function.retries, "waited": function.waited,
            "mean": times.map(|t| t.mean * 1e6), "deviation": times.map(|t| t.deviation * 1e6),
            "min": times.map(|t| t.min * 1e6), "max": times.map(|t| t.max * 1e6),
            "total": times.map(|t| t.total * 1e6),
        })
    }).collect();
    let extras: Vec<_> = summary
        .extras
        .iter()
        .filter_map(|(name, values)| {
            let times = Times::of(values)?;
            Some(
                json!({ "name": name, "count": values.len(), "sum": times.total, "mean": times.mean,
                     "min": times.min, "max": times.max }),
            )
        })
        .collect();
    let deaths: Vec<_> = run
        .deaths
        .iter()
        .map(|death| {
            json!({
                "at": death.at, "worker": death.worker, "pid": death.pid, "how": death.how,
                "replaced": death.replaced_by,
            })
        })
        .collect();
    let remarks: Vec<_> = run.remarks.iter().map(|remark| json!({
        "at": remark.at, "kind": remark.kind, "worker": remark.worker, "fields": remark.fields,
    })).collect();
    let path: Vec<_> = summary
        .path
        .iter()
        .map(|step| json!([step.call, step.reason, step.from, step.to, step.link.name()]))
        .collect();
    json!({
        "title": run.title(), "program": about.program, "file": about.file, "number": about.number,
        "of": about.runs_in_file, "id": about.id, "host": about.host, "pid": about.pid,
        "mode": about.mode, "mailring": about.mailring, "ended": about.ended, "header": about.header,
        "epoch": run.epoch as f64 / 1000.0, "length": run.length, "took": duration(run.length),
        "totals": {
            "calls": totals.calls, "done": totals.done, "failed": totals.failed,
            "cancelled": totals.cancelled, "served": totals.served, "unfinished": totals.unfinished,
            "bypassed": totals.bypassed, "retries": totals.retries, "local": totals.local,
            "deaths": totals.deaths,
        },
        "names": run.functions,
        "reasons": run.reasons.iter().map(|r| json!([r.key, r.label])).collect::<Vec<_>>(),
        "spent": summary.reasons, "pathSpent": summary.path_reasons, "chain": summary.longest_chain,
        "workers": workers, "functions": functions, "extras": extras,
        "calls": run.calls.iter().map(call).collect::<Vec<_>>(),
        "deaths": deaths, "remarks": remarks, "path": path, "notes": run.notes,
    })
}

/// One letter a field; what is not there is left out.
fn call(call: &Call) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value);
        }
    };
    let spans: Vec<_> = call.spans.iter().flat_map(|s| [s.reason as i64, s.from, s.to]).collect();
    let attempts: Vec<_> = call
        .attempts
        .iter()
        .map(|attempt| {
            json!([
                attempt.worker,
                attempt.start,
                attempt.end,
                attempt.outcome.name(),
                attempt.setup_done,
                attempt.number,
                attempt.pid,
                attempt.error,
                attempt.bytes_in,
                attempt.bytes_out,
            ])
        })
        .collect();
    put("i", json!(call.id));
    put("f", json!(call.func));
    put("n", json!(call.display_name));
    put("t", json!(call.tag));
    put("k", json!(call.kind));
    put("l", if call.is_remote { Value::Null } else { json!(1) });
    put("c", json!(call.caller));
    put("d", if call.deps.is_empty() { Value::Null } else { json!(call.deps) });
    put("u", if call.unknown_deps == 0 { Value::Null } else { json!(call.unknown_deps) });
    put("q", if call.resources.is_empty() { Value::Null } else { json!(call.resources) });
    put("s", json!(call.submitted));
    put("r", json!(call.ready));
    put("b", json!(call.begin()));
    put("e", json!(call.end));
    put("o", json!(call.outcome.name()));
    put("m", json!(call.remark));
    put("y", json!(call.bypassed));
    put("x", json!(call.exec_s));
    put("z", if call.extra.is_empty() { Value::Null } else { json!(call.extra) });
    put("p", json!(spans));
    put("a", json!(attempts));
    Value::Object(out)
}
