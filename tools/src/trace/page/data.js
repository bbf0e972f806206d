"use strict";
(() => {
// What the page knows: runs, calls and their rows. Nothing here draws.

const DATA = JSON.parse(document.getElementById("data").textContent);

/// The outcomes of calls, in the order in which the page names them.
const OUTCOMES = ["done", "failed", "cancelled", "served", "unfinished"];
const OUTCOME_COLOURS = {
  done: "#3f9b78", failed: "#d4453a", cancelled: "#8b93a1", served: "#4f86c9", unfinished: "#c98a2b",
};
const REASON_COLOURS = {
  inputs: "#93a1b3", memory: "#9a7fd6", worker: "#4fa8a0", order: "#7f8fd0", overhead: "#b9c1cb",
  setup: "#5a6b80", running: "#3b82c4", lost: "#d4453a", retry: "#e39a93", program: "var(--faint)",
};
/// Waits for resources: one for each set of names.
const RESOURCE_COLOURS = ["#e09a2b", "#c9662f", "#b8a13a", "#d27a8e", "#a9743f"];

const last = (list) => list[list.length - 1];
const sum = (list) => list.reduce((a, b) => a + b, 0);

/// Microseconds for people.
function time(us) {
  const digits = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
  if (us === null || us === undefined) return "";
  if (us < 0) return "-" + time(-us);
  if (us < 1e3) return `${us < 10 && us % 1 ? us.toFixed(1) : Math.round(us)} \u00b5s`;
  if (us < 1e6) return `${digits(us / 1e3)} ms`;
  if (us < 120e6) return `${digits(us / 1e6)} s`;
  if (us < 7200e6) return `${Math.floor(us / 60e6)} min ${Math.floor(us / 1e6) % 60} s`;
  return `${Math.floor(us / 3600e6)} h ${Math.floor(us / 60e6) % 60} min`;
}

function bytes(count) {
  if (count < 1024) return `${count} B`;
  const unit = Math.min(4, Math.floor(Math.log2(count) / 10));
  return `${(count / 1024 ** unit).toFixed(1)} ${["", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many ?? one + "s"}`;
const share = (part, whole) => whole > 0 ? `${(100 * part / whole).toFixed(part / whole < 0.0995 ? 1 : 0)} %` : "";

function plain(value) {
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(6));
  return typeof value === "string" ? value : JSON.stringify(value);
}

/// The last parts of paths, as short as they stay different.
function shortNames(names) {
  const tail = (name, parts) => name.split("::").slice(-parts).join("::");
  return names.map((name) => {
    for (let parts = 1; ; parts++) {
      const short = tail(name, parts);
      if (short === name || !names.some((other) => other !== name && tail(other, parts) === short)) return short;
    }
  });
}

/// A run, with what is looked up often.
class Run {
  constructor(raw) {
    Object.assign(this, raw);
    this.length = Math.max(1, raw.length);
    this.short = shortNames(raw.names);
    const order = new Map(raw.functions.map((f, place) => [f.name, place]));
    const colours = DATA.colours;
    this.functionColours = raw.names.map((name) => colours[(order.get(name) ?? 0) % colours.length]);
    let resources = 0;
    this.reasonColours = raw.reasons.map(([key]) =>
      REASON_COLOURS[key] ?? RESOURCE_COLOURS[resources++ % RESOURCE_COLOURS.length]);
    this.reasonKeys = raw.reasons.map(([key]) => key);
    this.nodes = [...new Set(raw.workers.map((worker) => worker.node ?? ""))];
    this.consumers = raw.calls.map(() => null);
    this.children = raw.calls.map(() => null);
    raw.calls.forEach((call, at) => {
      for (const dep of call.d ?? []) (this.consumers[dep] ??= []).push(at);
      if (call.c !== undefined) (this.children[call.c] ??= []).push(at);
    });
    // Which attempt a death ended: of the same process, and nearest in time.
    const byPid = new Map(raw.deaths.map((death) => [death.pid, []]));
    raw.calls.forEach((call, at) => call.a.forEach((attempt, which) => byPid.get(attempt[6])?.push([at, which, attempt])));
    for (const death of raw.deaths) {
      const far = ([, , attempt]) => Math.abs(attempt[2] - death.at);
      const here = (byPid.get(death.pid) ?? []).filter(([, , attempt]) => attempt[0] === death.worker);
      const ended = here.reduce((best, one) => best && far(best) <= far(one) ? best : one, null);
      // One that ended long before was not hit.
      death.hit = ended && far(ended) <= Math.max(2e3, this.length * 0.01) ? ended : null;
    }
    const ids = new Map(raw.calls.map((call, at) => [call.i, at]));
    for (const event of raw.remarks) event.call = ids.get(event.fields.call_id);
    this.texts = null;
    this.edges = sum(raw.calls.map((call) => (call.d ?? []).length));
    this.onPath = new Set(raw.path.map((step) => step[0]));
  }

  name(at) {
    const call = this.calls[at];
    return call.n ?? this.short[call.f];
  }

  /// Is it a wait, not something on a worker?
  isWait(reason) {
    return !["setup", "running", "lost"].includes(this.reasonKeys[reason]);
  }

  worker(at) {
    const attempt = last(this.calls[at].a);
    return attempt && attempt[0] !== null ? this.workers[attempt[0]] : null;
  }

  colour(at, by) {
    const call = this.calls[at];
    if (by === "outcome") return OUTCOME_COLOURS[call.o];
    if (by === "node") {
      const worker = this.worker(at);
      return worker ? DATA.colours[this.nodes.indexOf(worker.node ?? "") % DATA.colours.length] : "#8b93a1";
    }
    return this.functionColours[call.f];
  }

  /// What is searched.
  text(at) {
    this.texts ??= this.calls.map((call, at) => [
      this.name(at), this.names[call.f], call.i, call.t ?? "", call.o, call.m ?? "", call.y !== undefined ? "bypassed" : "",
      call.a.length > 1 ? "retried" : "",
      ...call.a.map((attempt) => `${attempt[0] === null ? "" : this.workers[attempt[0]].id} ${attempt[7] ?? ""}`),
    ].join("\n").toLowerCase());
    return this.texts[at];
  }
}

/// Puts intervals, in order of their beginning, into as few lanes as they need.
function lanes(items) {
  const ends = [];
  for (const item of items) {
    let lane = ends.findIndex((end) => end <= item.from);
    if (lane < 0) lane = ends.push(0) - 1;
    // One without length still takes its place.
    ends[lane] = Math.max(item.to, item.from + 1e-3);
    item.lane = lane;
  }
  return ends.length;
}

const byName = (a, b) => a.localeCompare(b, "en", { numeric: true });

/// Rows of a run: each has a label (of the group, on its first row) and items in order. An item is an
/// attempt (`a`) of a call (`c`), or the whole call (`a` is -1).
function makeRows(run, mode, visible, waits) {
  const groups = new Map();
  // Thousands that wait at once would be thousands of lanes.
  if (mode === "functions" && run.calls.length > 1500) waits = false;
  const into = (key, label, dim, item) => {
    if (!groups.has(key)) groups.set(key, { key, label, dim, items: [] });
    groups.get(key).items.push(item);
  };
  run.calls.forEach((call, at) => {
    if (!visible(at)) return;
    const whole = { c: at, a: -1, from: waits ? call.b : call.a.length ? call.a[0][1] : call.e, to: call.e };
    if (mode === "functions") into(call.f, run.short[call.f], "", whole);
    else if (mode === "calls") into(at, run.name(at), "", whole);
    else if (!call.a.length) into("none", "not on a worker", "", { ...whole, from: call.e, lane: 0 });
    else call.a.forEach((attempt, which) => {
      if (!visible(at, attempt[0])) return;
      const worker = run.workers[attempt[0]];
      into(worker ? worker.id : "?", worker ? worker.id : "worker unknown", worker?.node ?? "",
        { c: at, a: which, from: attempt[1], to: attempt[2] });
    });
  });
  let list = [...groups.values()];
  if (mode === "functions") {
    const order = new Map(run.functions.map((f, place) => [f.name, place]));
    list.sort((a, b) => order.get(run.names[a.key]) - order.get(run.names[b.key]));
  } else if (mode === "workers") {
    const known = new Map(run.workers.map((worker) => [worker.id, worker]));
    const rank = (group) => group.key === "none" ? 3 : group.key === "?" ? 2 : known.get(group.key).program ? 0 : 1;
    list.sort((a, b) => rank(a) - rank(b) || byName(String(a.key), String(b.key)));
  }
  const rows = [];
  list.forEach((group, band) => {
    group.items.sort((a, b) => a.from - b.from || b.to - a.to);
    const wanted = group.key === "none" ? 1 : lanes(group.items);
    const made = [];
    for (let lane = 0; lane < wanted; lane++) {
      made.push({ label: lane ? "" : group.label, key: group.key, band, lanes: wanted, first: lane === 0, items: [] });
    }
    for (const item of group.items) made[item.lane].items.push(item);
    rows.push(...made);
  });
  // A long item before a short one in a lane never overlaps it, so ends are in order too.
  return rows;
}
