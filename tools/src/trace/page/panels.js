
// Everything that is text: totals, details, tables. Text of logs goes in as text, never as markup.

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function swatch(colour, kind) {
  const element = h("i", { class: `swatch ${kind ?? ""}` });
  element.style.background = colour;
  return element;
}

const link = (text, action, title) => h("button", { type: "button", class: "link", onclick: action, title }, text);
const callLink = (view, at) => link(view.run.name(at), () => view.select(at, true), view.run.calls[at].i);
const list = (title, ...items) => items.flat().length ? [h("h3", null, title), h("ul", null, items.flat())] : [];

/// Rows that can be sorted by any column. A column: name, value of a row (to sort by), and how to show
/// it; numbers stand right.
function table(columns, rows, { by = null, most = 100, label } = {}) {
  const state = { by, down: true, most };
  const body = h("tbody");
  const more = h("button", { type: "button", class: "more", onclick: () => { state.most = Infinity; fill(); } });
  const heads = columns.map((column, at) => h("th", { scope: "col", class: column.number ? "number" : "" },
    h("button", { type: "button", onclick: () => {
      state.down = state.by === at ? !state.down : !!column.number;
      state.by = at;
      fill();
    } }, column.name)));
  function fill() {
    const sorted = [...rows];
    if (state.by !== null) {
      const value = columns[state.by].value;
      sorted.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const order = typeof x === "string" || typeof y === "string" ? byName(String(x ?? ""), String(y ?? "")) : (x ?? -1) - (y ?? -1);
        return state.down ? -order : order;
      });
    }
    heads.forEach((head, at) => {
      if (at === state.by) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...sorted.slice(0, state.most).map((row) => h("tr", null, columns.map((column) =>
      h("td", { class: column.number ? "number" : "" }, column.show ? column.show(row) : String(column.value(row) ?? ""))))));
    more.hidden = rows.length <= state.most;
    more.textContent = `show all ${rows.length.toLocaleString("en")}`;
  }
  fill();
  return [h("div", { class: "scroll", tabindex: rows.length > 12 ? 0 : null, role: rows.length > 12 ? "region" : null, "aria-label": label ?? null },
    h("table", null, h("thead", null, h("tr", null, heads)), body)), more];
}

/// Parts of a whole: [label, amount, colour].
function bar(parts) {
  const whole = sum(parts.map((part) => part[1]));
  return h("div", { class: "bar", role: "img", "aria-label": parts.map(([label, amount]) => `${label} ${share(amount, whole)}`).join(", ") },
    parts.filter((part) => part[1] > 0).map(([label, amount, colour]) => {
      const element = h("i", { title: `${label}: ${time(amount)}, ${share(amount, whole)}` });
      element.style.background = colour;
      element.style.flex = `${amount} 1 0`;
      return element;
    }));
}

function breakdown(parts, name) {
  const whole = sum(parts.map((part) => part[1]));
  const rows = parts.filter((part) => part[1] > 0).sort((a, b) => b[1] - a[1]);
  return [bar(parts), table([
    { name, value: (row) => row[0], show: (row) => [swatch(row[2]), row[0]] },
    { name: "time", number: true, value: (row) => row[1], show: (row) => time(row[1]) },
    { name: "share", number: true, value: (row) => row[1], show: (row) => share(row[1], whole) },
  ], rows, { most: 20 })];
}

function fillHead(view) {
  const { run } = view;
  document.getElementById("title").textContent = run.title;
  document.title = `${run.title} - mailring trace`;
  const began = new Date(run.epoch);
  const when = isNaN(began) ? "" : began.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  document.getElementById("about").textContent = [
    when, run.host && `on ${run.host}`, run.mode && `${run.mode} mode`, run.pid && `pid ${run.pid}`,
    run.id && `run ${run.id}`, run.mailring && `mailring ${run.mailring}`,
    `${run.file}${run.of > 1 ? `, run ${run.number} of ${run.of}` : ""}`,
  ].filter(Boolean).join(" \u00b7 ");
  const { totals } = run;
  const real = run.workers.filter((worker) => !worker.program);
  const busy = sum(real.map((worker) => worker.busy));
  const tile = (value, name, bad) => h("li", { class: bad ? "bad" : null }, h("b", null, value), h("span", null, name));
  const number = (value, one, many, bad) => value ? tile(value.toLocaleString("en"), value === 1 ? one : many, bad) : null;
  document.getElementById("totals").replaceChildren(...[
    tile(time(run.length), "wall time"),
    tile(totals.calls.toLocaleString("en"), totals.calls === 1 ? "call" : "calls"),
    number(totals.done, "done", "done"), number(totals.failed, "failed", "failed", true),
    number(totals.cancelled, "cancelled", "cancelled"), number(totals.unfinished, "without an end", "without an end", true),
    number(totals.retries, "retry", "retries"), number(totals.served, "from the cache", "from the cache"),
    number(totals.bypassed, "bypassed", "bypassed"), number(totals.local, "local call", "local calls"),
    number(totals.deaths, "death of a worker", "deaths of workers", true),
    tile(real.length.toLocaleString("en"), real.length === 1 ? "worker" : "workers"),
    real.length ? tile(share(busy, real.length * run.length) || "0 %", "of their time busy") : null,
  ].filter(Boolean));
  document.getElementById("notes").replaceChildren(...run.notes.map((note) => h("li", null, note)));
}

/// What a reader should see first, in words.
function sentences(view) {
  const { run } = view;
  const said = [];
  const real = run.workers.filter((worker) => !worker.program);
  const busy = sum(real.map((worker) => worker.busy));
  if (real.length) {
    said.push(`${count(real.length, "worker")} had a body to run ${share(busy, real.length * run.length) || "0 %"} of the ${time(run.length)}.`);
  }
  const waits = run.reasons.map(([key, label], at) => [label, run.spent[at], key, at])
    .filter(([, spent, key, at]) => run.isWait(at) && key !== "inputs" && spent > 0).sort((a, b) => b[1] - a[1]);
  const all = sum(waits.map((wait) => wait[1]));
  if (waits.length) {
    const [label, spent] = waits[0];
    said.push(`Calls that had their inputs still waited ${time(all)} altogether; ${share(spent, all)} of it: ${label}.`);
  }
  const lost = run.spent[run.reasonKeys.indexOf("lost")];
  if (lost > 0) said.push(`${time(lost)} went into attempts that did not end well.`);
  if (run.path.length) {
    const onPath = run.pathSpent.map((spent, at) => [run.reasons[at][1], spent]).sort((a, b) => b[1] - a[1])[0];
    said.push(`Along the critical path most time is ${onPath[0]} (${time(onPath[1])}, ${share(onPath[1], sum(run.pathSpent))}).`);
  }
  if (run.chain > 0) {
    said.push(`The longest chain of calls that need each other's values takes ${time(run.chain)}: more workers cannot bring the run below that.`);
  }
  return said;
}

function fillPanels(view) {
  const { run } = view;
  const card = (title, wide, ...content) => h("section", { class: `card ${wide ? "wide" : ""}`, "aria-label": title }, h("h2", null, title), content);
  const reasons = (times, keep) => run.reasons.map(([, label], at) => [label, times[at], run.reasonColours[at], at]).filter((part) => keep(part[3]));
  const cards = [];
  const real = run.workers.filter((worker) => !worker.program);
  const workerParts = ["running", "setup", "lost"].map((key) => [
    { running: "running", setup: "set-up", lost: "lost in failed attempts" }[key], sum(real.map((worker) => worker[key])), REASON_COLOURS[key]]);
  const idle = Math.max(0, real.length * run.length - sum(real.map((worker) => worker.busy)));
  if (run.calls.length) {
    cards.push(card("Where time went", false,
      h("ul", { class: "sentences" }, sentences(view).map((text) => h("li", null, text))),
      h("h3", null, "Calls: from the submit to the end"), breakdown(reasons(run.spent, (at) => run.reasonKeys[at] !== "program"), "spent on"),
      real.length ? [h("h3", null, "Workers"), breakdown([...workerParts, ["nothing to run", idle, "var(--faint)"]], "spent on")] : ""));
    const steps = run.path;
    const long = sum(run.pathSpent) / 1000;
    const shown = steps.filter((step) => step[3] - step[2] >= long);
    const perFunction = new Map();
    for (const [at, reason, from, to] of steps) {
      if (at === null || run.isWait(reason)) continue;
      const func = run.calls[at].f;
      perFunction.set(func, (perFunction.get(func) ?? 0) + to - from);
    }
    cards.push(card("Critical path", false,
      h("p", { class: "dim" }, "Back from the last end, what each moment waited for. What shortens a step shortens the run."),
      h("h3", null, "What it consists of"), breakdown(reasons(run.pathSpent, () => true), "spent on"),
      perFunction.size ? [h("h3", null, "Functions on it"), breakdown([...perFunction].map(([func, spent]) => [run.short[func], spent, run.functionColours[func]]), "function")] : "",
      h("h3", null, count(shown.length, "step"), shown.length < steps.length
        ? h("span", { class: "dim" }, ` (and ${(steps.length - shown.length).toLocaleString("en")} under a thousandth of the path)`) : ""),
      table([
        { name: "at", number: true, value: (step) => step[2], show: (step) => time(step[2]) || "0" },
        { name: "took", number: true, value: (step) => step[3] - step[2], show: (step) => time(step[3] - step[2]) },
        { name: "call", value: (step) => step[0] === null ? "" : run.name(step[0]), show: (step) => step[0] === null ? h("span", { class: "dim" }, "the program") : callLink(view, step[0]) },
        { name: "spent on", value: (step) => run.reasons[step[1]][1], show: (step) => [swatch(run.reasonColours[step[1]]), run.reasons[step[1]][1]] },
        { name: "leads on by", value: (step) => step[4], show: (step) => h("span", { class: "dim" }, { input: "its value", worker: "its worker, now free", call: "a call", return: "its end, to its caller", program: "its end, to the program" }[step[4]] ?? "") },
      ], shown, { most: 60, label: "Steps of the critical path" })));
    cards.push(card("Functions", true, table([
      { name: "function", value: (f) => f.name, show: (f) => {
        const at = run.names.indexOf(f.name);
        return [swatch(run.functionColours[at]), link(run.short[at], () => view.find(f.name), f.name)];
      } },
      { name: "calls", number: true, value: (f) => f.calls, show: (f) => f.calls.toLocaleString("en") },
      { name: "failed", number: true, value: (f) => f.failed, show: (f) => f.failed ? h("span", { class: "bad" }, f.failed) : "" },
      { name: "retries", number: true, value: (f) => f.retries, show: (f) => f.retries || "" },
      { name: "mean", number: true, value: (f) => f.mean, show: (f) => time(f.mean) },
      { name: "deviation", number: true, value: (f) => f.deviation, show: (f) => f.done > 1 ? time(f.deviation) : "" },
      { name: "least", number: true, value: (f) => f.min, show: (f) => time(f.min) },
      { name: "most", number: true, value: (f) => f.max, show: (f) => time(f.max) },
      { name: "total", number: true, value: (f) => f.total, show: (f) => time(f.total) },
      { name: "waited, mean", number: true, value: (f) => f.waited / f.calls, show: (f) => time(f.waited / f.calls) },
    ], run.functions, { by: 8, label: "Functions" })));
  }
  const problems = [
    ...run.deaths.map((death) => ({ at: death.at, what: "death", who: death.worker === null ? "a worker" : run.workers[death.worker].id,
      text: [death.how, death.pid && `pid ${death.pid}`, death.replaced && `replaced by ${death.replaced}`].filter(Boolean).join(", ") })),
    ...run.calls.flatMap((call, at) => {
      const found = call.a.slice(0, -1).map((attempt) => ({ at: attempt[2], what: "retry", call: at, text: attempt[7] ?? "" }));
      if (call.o === "failed" || call.o === "cancelled" || call.o === "unfinished") {
        found.push({ at: call.e, what: call.o, call: at, text: call.m ?? (call.o === "unfinished" ? "no end was recorded" : "") });
      }
      return found;
    }),
  ].sort((a, b) => a.at - b.at);
  if (problems.length) {
    cards.push(card("What went wrong", true, table([
      { name: "at", number: true, value: (p) => p.at, show: (p) => time(p.at) },
      { name: "what", value: (p) => p.what, show: (p) => h("span", { class: p.what === "failed" || p.what === "death" ? "bad" : "" }, p.what) },
      { name: "call or worker", value: (p) => p.call === undefined ? p.who : run.name(p.call), show: (p) => p.call === undefined ? p.who : callLink(view, p.call) },
      { name: "why", value: (p) => p.text },
    ], problems, { most: 50, label: "What went wrong" })));
  }
  if (run.workers.length) {
    cards.push(card("Workers", run.workers.length > 30, table([
      { name: "worker", value: (w) => w.id, show: (w) => link(w.id, () => view.find(w.id), w.resources || w.id) },
      { name: "attempts", number: true, value: (w) => w.calls, show: (w) => w.calls.toLocaleString("en") },
      { name: "running", number: true, value: (w) => w.running, show: (w) => time(w.running) },
      { name: "set-up", number: true, value: (w) => w.setup, show: (w) => w.setup ? time(w.setup) : "" },
      { name: "lost", number: true, value: (w) => w.lost, show: (w) => w.lost ? h("span", { class: "bad" }, time(w.lost)) : "" },
      { name: "busy", number: true, value: (w) => w.busy, show: (w) => share(w.busy, run.length) || "0 %" },
      { name: "resources", value: (w) => w.resources, show: (w) => h("span", { class: "dim" }, w.program ? "the program itself" : w.resources) },
    ], run.workers, { most: 40, label: "Workers" })));
  }
  if (run.extras.length) {
    cards.push(card("Values that bodies added", false, table([
      { name: "value", value: (e) => e.name },
      { name: "calls", number: true, value: (e) => e.count },
      ...["sum", "mean", "min", "max"].map((key) => ({ name: { min: "least", max: "most" }[key] ?? key, number: true, value: (e) => e[key], show: (e) => plain(e[key]) })),
    ], run.extras, { label: "Values that bodies added" })));
  }
  if (run.remarks.length) {
    cards.push(card("Events", false, table([
      { name: "at", number: true, value: (e) => e.at, show: (e) => link(time(e.at) || "0", () => view.centre(e.at)) },
      { name: "event", value: (e) => e.kind },
      { name: "worker", value: (e) => e.worker === null ? "" : run.workers[e.worker].id },
      { name: "call", value: (e) => e.call === undefined ? "" : run.name(e.call), show: (e) => e.call === undefined ? "" : callLink(view, e.call) },
      { name: "fields", value: fieldsOf },
    ], run.remarks, { most: 50, label: "Events" })));
  }
  document.getElementById("panels").replaceChildren(...cards);
}

/// What an event says, besides of which call.
const fieldsOf = (event) => Object.entries(event.fields).filter(([key]) => key !== "call_id" || event.call === undefined)
  .map(([key, value]) => `${key}: ${plain(value)}`).join(", ");

/// Where the time of a call went: [label, amount, colour], waits of one reason together.
function callParts(run, call) {
  const parts = new Map();
  for (let at = 0; at < call.p.length; at += 3) {
    parts.set(call.p[at], (parts.get(call.p[at]) ?? 0) + call.p[at + 2] - call.p[at + 1]);
  }
  return [...parts].map(([reason, amount]) => [run.reasons[reason][1], amount, run.reasonColours[reason]]);
}

function fillTip(view, item) {
  const { run } = view;
  const call = run.calls[item.c];
  const attempt = item.a >= 0 ? call.a[item.a] : last(call.a);
  const lines = [h("b", null, run.name(item.c))];
  if (call.n) lines.push(run.short[call.f]);
  const state = [call.o, call.a.length > 1 ? `${item.a >= 0 ? `attempt ${item.a + 1} of ` : ""}${count(call.a.length, "attempt")}` : "",
    attempt && attempt[0] !== null ? `on ${run.workers[attempt[0]].id}` : ""].filter(Boolean).join(", ");
  lines.push(state);
  for (const [label, amount, colour] of callParts(run, call)) lines.push([swatch(colour), ` ${label} ${time(amount)}`]);
  if (attempt?.[7]) lines.push(attempt[7].slice(0, 200));
  else if (call.m) lines.push(call.m.slice(0, 200));
  document.getElementById("tip").replaceChildren(...lines.map((line) => h("div", null, line)));
}

function fillDetails(view) {
  const { run, selected } = view;
  const panel = document.getElementById("details");
  panel.hidden = selected === null;
  if (selected === null) return panel.replaceChildren();
  const call = run.calls[selected];
  const facts = [];
  const fact = (name, value) => value === "" || value === null || value === undefined ? null : facts.push(h("dt", null, name), h("dd", null, value));
  fact("outcome", h("span", { class: call.o === "failed" ? "bad" : "" }, call.o));
  fact("function", run.names[call.f]);
  fact("call", call.i);
  fact("kind", call.l ? "local call" : call.k);
  fact("tag", call.t);
  fact("resources", call.q);
  fact("bypassed by", call.y === undefined ? null : call.y || "a provider");
  fact("submitted", call.s === undefined ? null : time(call.s) || "0");
  fact("inputs there", call.r === undefined ? null : time(call.r) || "0");
  fact("started", call.a.length ? time(call.a[0][1]) || "0" : null);
  fact("ended", time(call.e) || "0");
  fact("body took", call.x === undefined ? null : time(call.x * 1e6));
  const parts = callParts(run, call);
  const many = (calls) => [
    ...calls.slice(0, 40).map((at) => h("li", null, callLink(view, at), h("span", { class: "dim" }, ` ${time(run.calls[at].e - run.calls[at].b)}`))),
    ...(calls.length > 40 ? [h("li", { class: "dim" }, `and ${(calls.length - 40).toLocaleString("en")} more`)] : []),
  ];
  const attempts = call.a.map(([worker, start, end, outcome, setup, number, pid, error, bytesIn, bytesOut]) => h("li", null,
    h("div", null, [call.a.length > 1 ? `${number}. ` : "", worker === null ? "" : `${run.workers[worker].id}`, pid ? `, pid ${pid}` : "",
      `: ${outcome}, ${time(end - start)}`, setup !== null ? ` (set-up ${time(setup - start)})` : ""].join("")),
    bytesIn !== null || bytesOut !== null ? h("div", { class: "dim" }, `${bytes(bytesIn ?? 0)} in, ${bytes(bytesOut ?? 0)} out`) : null,
    error ? h("div", { class: "error" }, error) : null));
  const extra = Object.entries(call.z ?? {});
  panel.replaceChildren(...[
    h("button", { type: "button", class: "close", onclick: () => view.select(null), title: "Close (Esc)", "aria-label": "Close" }, "\u00d7"),
    h("h2", null, run.name(selected)),
    link("Zoom to it", () => view.zoomTo(selected)),
    h("dl", null, facts),
    call.m && !call.a.some((attempt) => attempt[7] === call.m) ? h("div", { class: call.o === "failed" ? "error" : "dim" }, call.m) : null,
    ...(parts.length ? [h("h3", null, "Where its time went"), bar(parts), h("ul", null, parts.map(([label, amount, colour]) =>
      h("li", null, swatch(colour), ` ${label} `, h("span", { class: "dim" }, time(amount)))))] : []),
    ...list(call.a.length > 1 ? "Attempts" : "Where it ran", attempts),
    ...list("Called by", call.c === undefined ? [] : many([call.c])),
    ...list("Takes values of", many(call.d ?? []), call.u ? h("li", { class: "dim" }, `${call.u} that the log does not know`) : []),
    ...list("Gives its value to", many(run.consumers[selected] ?? [])),
    ...list("Calls", many(run.children[selected] ?? [])),
    ...list("Events", run.remarks.filter((event) => event.call === selected).slice(0, 40).map((event) =>
      h("li", null, h("span", { class: "dim" }, `${time(event.at)} `), event.kind, h("span", { class: "dim" }, ` ${fieldsOf(event)}`)))),
    ...(extra.length ? [h("h3", null, "Added values"), h("dl", null, extra.flatMap(([key, value]) => [h("dt", null, key), h("dd", null, plain(value))]))] : []),
  ].filter(Boolean));
}

function fillLegend(view) {
  const { run } = view;
  const used = new Set(run.calls.map((call) => call.f));
  const entries = [];
  const entry = (colour, text, kind) => entries.push(h("li", null, swatch(colour, kind), text));
  if (view.colour === "function") {
    const shown = run.functions.map((f) => run.names.indexOf(f.name)).filter((func) => used.has(func));
    for (const func of shown.slice(0, 24)) entry(run.functionColours[func], run.short[func]);
    if (shown.length > 24) entry("transparent", `and ${shown.length - 24} functions more`);
  } else if (view.colour === "outcome") {
    for (const outcome of OUTCOMES) if (run.calls.some((call) => call.o === outcome)) entry(OUTCOME_COLOURS[outcome], outcome);
  } else run.nodes.forEach((node, at) => entry(DATA.colours[at % DATA.colours.length], node || "(no node)"));
  if (view.waits) {
    run.reasons.forEach(([, label], at) => {
      if (run.isWait(at) && run.spent[at] > 0) entry(run.reasonColours[at], label, "thin");
    });
  }
  if (view.path && run.path.length) entry(getComputedStyle(document.documentElement).getPropertyValue("--mark"), "critical path", "line");
  document.getElementById("legend").replaceChildren(...entries);
}

const KEYS = [
  ["wheel", "scroll the rows"], ["Ctrl + wheel", "zoom where the mouse is"], ["Shift + wheel", "move in time"],
  ["drag", "move; in the strip above: choose a piece of time"], ["click", "details of a call"], ["double click", "zoom to a call"],
  ["\u2190 \u2192 \u2191 \u2193", "move in time; scroll the rows"], ["+  \u2212  0", "zoom in, zoom out, the whole run"],
  ["n  p", "next and previous call (of those found)"], ["Enter", "to the details of the call"], ["f", "zoom to the call"], ["Esc", "let the call go; empty the search"],
  ["/", "search"], ["r", "rows by worker, by function, by call"], ["w  e  c", "waits, edges, critical path"], ["t", "light or dark"], ["?", "this list"],
];

function fillHelp() {
  document.getElementById("help").replaceChildren(h("h2", null, "Keys and mouse"),
    h("ul", { class: "keys" }, KEYS.map(([key, what]) => h("li", null, h("span", null, h("kbd", null, key)), h("span", null, what)))));
}
