
// What can be done: the state of the view, and what mouse, keys and controls change in it.

const el = (id) => document.getElementById(id);

class View {
  constructor() {
    this.runs = DATA.runs.map((raw) => new Run(raw));
    this.mode = "workers";
    this.colour = "function";
    this.timeline = new Timeline(this);
    this.show(this.runs.length - 1);
  }

  /// Another run.
  show(at) {
    this.run = this.runs[at];
    this.selected = null;
    this.found = null;
    this.top = 0;
    // Shown at first where they can be read.
    this.waits = true;
    this.edges = this.run.edges <= 400;
    this.path = this.run.calls.length <= 2000;
    this.hiddenWorkers = new Set();
    this.hiddenFunctions = new Set();
    if (DATA.only.length) {
      this.run.names.forEach((name, func) => {
        if (!DATA.only.includes(name)) this.hiddenFunctions.add(func);
      });
    }
    this.fit();
    el("show-waits").checked = this.waits;
    el("show-edges").checked = this.edges;
    el("show-path").checked = this.path;
    fillHead(this);
    fillPanels(this);
    this.fillMenus();
    this.search();
    this.arrange();
    fillDetails(this);
  }

  arrange() {
    fillLegend(this);
    this.timeline.arrange();
  }

  /// Is a call shown, or its attempt on that worker?
  visible(at, worker) {
    const call = this.run.calls[at];
    if (worker !== undefined && this.hiddenWorkers.has(worker)) return false;
    if (this.hiddenFunctions.has(call.f)) return false;
    return !this.hiddenWorkers.size || !call.a.length || call.a.some((attempt) => !this.hiddenWorkers.has(attempt[0]));
  }

  matches(at) {
    return this.found === null || this.found.has(at);
  }

  fit() {
    const edge = this.run.length * 0.01;
    this.from = -edge;
    this.to = this.run.length + edge;
  }

  window(from, to) {
    const { length } = this.run;
    const wide = Math.max(2, Math.min(to - from, length * 1.1));
    const middle = (from + to) / 2;
    const begin = Math.max(-length * 0.05, Math.min(middle - wide / 2, length * 1.05 - wide));
    this.from = begin;
    this.to = begin + wide;
    this.timeline.draw();
  }

  /// `factor` below 1 shows less, and keeps `at` where it is.
  zoom(factor, at = (this.from + this.to) / 2) {
    const wide = Math.max(2, Math.min((this.to - this.from) * factor, this.run.length * 1.1));
    const part = (at - this.from) / (this.to - this.from);
    this.window(at - part * wide, at + (1 - part) * wide);
  }

  pan(part) {
    const by = (this.to - this.from) * part;
    this.window(this.from + by, this.to + by);
  }

  scroll(by) {
    const before = this.top;
    this.top = Math.max(0, Math.min(this.timeline.most(), this.top + by));
    if (this.top !== before) this.timeline.draw();
    return this.top !== before;
  }

  centre(at) {
    const half = (this.to - this.from) / 2;
    this.window(at - half, at + half);
    el("stage").scrollIntoView({ block: "nearest" });
  }

  zoomTo(at) {
    const call = this.run.calls[at];
    const [from, to] = [call.a.length ? call.a[0][1] : call.b, call.e];
    const edge = Math.max(1, (to - from) * 0.7);
    this.window(from - edge, to + edge);
    this.bring(at);
  }

  /// Scrolls and moves so far that the call can be seen.
  bring(at) {
    const call = this.run.calls[at];
    const place = this.timeline.places.get(at);
    if (place) {
      const { rowHeight, height } = this.timeline;
      const y = place.first * rowHeight - this.top;
      if (y < 0 || y + rowHeight > height - AXIS) this.scroll(y - (height - AXIS) / 2);
    }
    const start = call.a.length ? call.a[0][1] : call.b;
    if (start > this.to || call.e < this.from) this.centre((start + call.e) / 2);
    // One that would be a hair is looked at from nearer.
    if ((call.e - start) * this.timeline.scale < 2 && call.e > start) {
      const half = (call.e - start) * 20;
      this.window((start + call.e) / 2 - half, (start + call.e) / 2 + half);
    }
  }

  select(at, bring = false) {
    this.selected = at;
    fillDetails(this);
    this.timeline.resize();
    if (at !== null && bring) {
      this.bring(at);
      el("stage").scrollIntoView({ block: "nearest" });
    }
    this.timeline.draw();
  }

  /// The next call in time, or the one before, of those found.
  step(by) {
    const order = [...this.timeline.places.keys()].filter((at) => this.matches(at)).sort((a, b) => {
      const start = (at) => this.run.calls[at].a[0]?.[1] ?? this.run.calls[at].e;
      return start(a) - start(b) || a - b;
    });
    if (!order.length) return;
    const now = order.indexOf(this.selected);
    const next = now < 0 ? (by > 0 ? 0 : order.length - 1) : (now + by + order.length) % order.length;
    this.select(order[next], true);
    this.say(next + 1);
  }

  find(text) {
    el("search").value = text;
    this.search();
    el("stage").scrollIntoView({ block: "nearest" });
  }

  search() {
    const words = el("search").value.trim().toLowerCase();
    this.found = null;
    if (words) {
      this.found = new Set();
      this.run.calls.forEach((_, at) => {
        if (this.run.text(at).includes(words)) this.found.add(at);
      });
    }
    this.say(null);
    this.timeline.draw();
  }

  say(which) {
    const { found } = this;
    el("previous").disabled = el("next").disabled = found !== null && !found.size;
    el("found").textContent = found === null ? "" : which ? `${which} of ${found.size.toLocaleString("en")}` : count(found.size, "call");
  }

  setRows(mode) {
    this.mode = mode;
    document.querySelector(`input[name="rows"][value="${mode}"]`).checked = true;
    this.top = 0;
    this.arrange();
    if (this.selected !== null) this.bring(this.selected);
  }

  toggle(what) {
    this[what] = !this[what];
    el(`show-${what}`).checked = this[what];
    this.arrange();
  }

  fillMenus() {
    const menu = (id, entries, hidden) => {
      const boxes = [];
      const changed = () => {
        el(id).firstElementChild.textContent = el(id).dataset.name + (hidden.size ? ` (${entries.length - hidden.size} of ${entries.length})` : "");
        this.arrange();
      };
      const all = (on) => () => {
        for (const [key, box] of boxes) {
          box.checked = on;
          on ? hidden.delete(key) : hidden.add(key);
        }
        changed();
      };
      const made = entries.map(([key, label, colour]) => {
        const box = h("input", { type: "checkbox", checked: !hidden.has(key), onchange: () => {
          box.checked ? hidden.delete(key) : hidden.add(key);
          changed();
        } });
        boxes.push([key, box]);
        return h("label", null, box, colour ? swatch(colour) : "", label);
      });
      el(id).lastElementChild.replaceChildren(h("div", { class: "both" }, link("all", all(true)), link("none", all(false))), ...made);
      el(id).dataset.name = el(id).dataset.name ?? el(id).firstElementChild.textContent;
      el(id).firstElementChild.textContent = el(id).dataset.name + (hidden.size ? ` (${entries.length - hidden.size} of ${entries.length})` : "");
      el(id).hidden = entries.length < 2;
    };
    const { run } = this;
    const workers = run.workers.map((worker, at) => [at, worker.node && worker.node !== worker.id.split("/")[0] ? `${worker.id} (${worker.node})` : worker.id]);
    menu("worker-menu", workers.sort((a, b) => byName(a[1], b[1])), this.hiddenWorkers);
    const used = new Set(run.calls.map((call) => call.f));
    const functions = run.functions.map((f) => run.names.indexOf(f.name)).filter((func) => used.has(func));
    menu("function-menu", functions.map((func) => [func, run.short[func], run.functionColours[func]]), this.hiddenFunctions);
  }
}

fillHelp();
const view = new View();
const { timeline } = view;

// Light or dark: as the system, until somebody chooses.
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
try {
  chosen = localStorage.getItem("mailring-trace-theme");
} catch {
  // A page from a file may have no storage.
}
function setTheme() {
  const theme = chosen ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  el("theme").textContent = theme === "dark" ? "Light" : "Dark";
  timeline.theme = null;
  fillLegend(view);
  timeline.draw();
}
function otherTheme() {
  chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("mailring-trace-theme", chosen);
  } catch {
    // Then it is forgotten with the page.
  }
  setTheme();
}
dark.addEventListener("change", setTheme);
el("theme").addEventListener("click", otherTheme);
setTheme();

if (view.runs.length > 1) {
  el("run-label").hidden = false;
  view.runs.forEach((run, at) => {
    const began = new Date(run.epoch);
    const when = isNaN(began) ? "" : began.toLocaleString("en-GB", { dateStyle: "short", timeStyle: "medium" });
    el("run").append(h("option", { value: String(at) }, `${run.title} ${run.number}: ${when}, ${count(run.calls.length, "call")}`));
  });
  el("run").value = String(view.runs.length - 1);
  el("run").addEventListener("change", () => view.show(Number(el("run").value)));
}

function help() {
  el("help").hidden = !el("help").hidden;
  el("help-button").setAttribute("aria-expanded", String(!el("help").hidden));
}
el("help-button").addEventListener("click", help);
el("search").addEventListener("input", () => view.search());
el("next").addEventListener("click", () => view.step(1));
el("previous").addEventListener("click", () => view.step(-1));
for (const what of ["waits", "edges", "path"]) el(`show-${what}`).addEventListener("change", () => view.toggle(what));
for (const radio of document.querySelectorAll('input[name="rows"]')) {
  radio.addEventListener("change", () => view.setRows(radio.value));
}
el("colour").addEventListener("change", () => {
  view.colour = el("colour").value;
  fillLegend(view);
  timeline.draw();
});
el("in").addEventListener("click", () => view.zoom(1 / 1.6));
el("out").addEventListener("click", () => view.zoom(1.6));
el("fit").addEventListener("click", () => {
  view.fit();
  timeline.draw();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// The mouse on the timeline.
let drag = null;
timeline.canvas.addEventListener("wheel", (event) => {
  const lines = event.deltaMode === 1 ? 16 : 1;
  const by = (event.deltaY || event.deltaX) * lines;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    view.zoom(1.18 ** (by / 100), timeline.at(event.offsetX));
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    view.pan((event.deltaX || event.deltaY) * lines / (timeline.width - GUTTER));
  } else if (view.scroll(by)) {
    event.preventDefault();
  }
}, { passive: false });
timeline.canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  drag = { x: event.offsetX, y: event.offsetY, from: view.from, to: view.to, top: view.top, moved: false };
  timeline.canvas.setPointerCapture(event.pointerId);
});
timeline.canvas.addEventListener("pointermove", (event) => {
  const tip = el("tip");
  if (drag) {
    const [x, y] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (!drag.moved && Math.hypot(x, y) < 4) return;
    drag.moved = true;
    tip.hidden = true;
    timeline.canvas.classList.add("dragging");
    const by = x / timeline.scale;
    view.window(drag.from - by, drag.to - by);
    view.top = Math.max(0, Math.min(timeline.most(), drag.top - y));
    return;
  }
  const item = timeline.hit(event.offsetX, event.offsetY);
  timeline.canvas.style.cursor = item ? "pointer" : "";
  tip.hidden = !item;
  if (!item) return;
  fillTip(view, item);
  const room = timeline.width - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(0, Math.min(event.offsetX + 14, room))}px`;
  const below = event.offsetY + 18;
  tip.style.top = `${below + tip.offsetHeight > timeline.height ? Math.max(0, event.offsetY - tip.offsetHeight - 10) : below}px`;
});
timeline.canvas.addEventListener("pointerup", (event) => {
  timeline.canvas.classList.remove("dragging");
  if (drag && !drag.moved) {
    const item = timeline.hit(event.offsetX, event.offsetY);
    view.select(item ? item.c : null);
    timeline.canvas.focus({ preventScroll: true });
  }
  drag = null;
});
timeline.canvas.addEventListener("pointercancel", () => {
  drag = null;
});
timeline.canvas.addEventListener("pointerleave", () => {
  el("tip").hidden = true;
});
timeline.canvas.addEventListener("dblclick", (event) => {
  const item = timeline.hit(event.offsetX, event.offsetY);
  if (item) view.zoomTo(item.c);
});

// A drag in the overview chooses a piece of time; a click goes there.
let brush = null;
timeline.overview.addEventListener("pointerdown", (event) => {
  brush = event.offsetX;
  timeline.overview.setPointerCapture(event.pointerId);
});
timeline.overview.addEventListener("pointermove", (event) => {
  if (brush === null || Math.abs(event.offsetX - brush) < 4) return;
  const ends = [timeline.overviewAt(brush), timeline.overviewAt(event.offsetX)].sort((a, b) => a - b);
  view.window(...ends);
});
timeline.overview.addEventListener("pointerup", (event) => {
  if (brush !== null && Math.abs(event.offsetX - brush) < 4) view.centre(timeline.overviewAt(event.offsetX));
  brush = null;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
    if (el("search").value) view.find("");
    return view.select(null);
  }
  if (typing && event.key === "Enter" && event.target === el("search")) return view.step(event.shiftKey ? -1 : 1);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const onTimeline = event.target === timeline.canvas || event.target === document.body;
  const move = {
    ArrowLeft: () => view.pan(-0.1), ArrowRight: () => view.pan(0.1),
    ArrowUp: () => view.scroll(-timeline.rowHeight), ArrowDown: () => view.scroll(timeline.rowHeight),
    Enter: () => view.selected !== null && el("details").querySelector("button").focus(),
  };
  const modes = ["workers", "functions", "calls"];
  const anywhere = {
    "+": () => view.zoom(1 / 1.6), "=": () => view.zoom(1 / 1.6), "-": () => view.zoom(1.6),
    0: () => el("fit").click(), n: () => view.step(1), p: () => view.step(-1),
    f: () => view.selected !== null && view.zoomTo(view.selected),
    "/": () => el("search").focus(), r: () => view.setRows(modes[(modes.indexOf(view.mode) + 1) % 3]),
    w: () => view.toggle("waits"), e: () => view.toggle("edges"), c: () => view.toggle("path"), t: otherTheme, "?": help,
  };
  const action = (onTimeline && event.target === timeline.canvas ? move[event.key] : null) ?? anywhere[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
new ResizeObserver(() => timeline.resize()).observe(timeline.canvas.parentElement);

// For whoever looks from outside: a console, a test.
window.mailringTrace = {
  view,
  /// What is shown, and where on the screen a call is.
  state: () => ({
    from: view.from, to: view.to, top: view.top, mode: view.mode, rows: timeline.rows.length, drawn: timeline.drawn,
    selected: view.selected === null ? null : view.run.calls[view.selected].i,
    found: view.found === null ? null : view.found.size, theme: document.documentElement.dataset.theme,
    waits: view.waits, edges: view.edges, path: view.path,
  }),
  place: (id) => {
    const at = view.run.calls.findIndex((call) => call.i === id);
    const place = timeline.places.get(at);
    if (!place) return null;
    const box = timeline.canvas.getBoundingClientRect();
    const attempt = last(view.run.calls[at].a);
    const x = timeline.x(attempt ? (attempt[1] + attempt[2]) / 2 : view.run.calls[at].e);
    return { x: box.left + x, y: box.top + timeline.y(place.last) + timeline.rowHeight / 2 };
  },
};
})();
