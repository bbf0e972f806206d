
// The drawing of the timeline and of the overview above it.

const GUTTER = 168;
const AXIS = 26;

class Timeline {
  constructor(view) {
    this.view = view;
    this.canvas = document.getElementById("timeline");
    this.overview = document.getElementById("overview");
    this.places = new Map();
    this.pending = false;
    this.drawn = { boxes: 0, merged: 0, edges: 0, ms: 0 };
  }

  /// New rows: another run, other filters, another arrangement.
  arrange() {
    const { run } = this.view;
    this.rows = makeRows(run, this.view.mode, (at, worker) => this.view.visible(at, worker), this.view.waits);
    this.places.clear();
    this.rows.forEach((row, place) => {
      for (const item of row.items) {
        let known = this.places.get(item.c);
        if (!known) this.places.set(item.c, known = { first: place, last: place, rows: [] });
        known.last = place;
        if (item.a >= 0) known.rows[item.a] = place;
      }
    });
    this.resize();
    this.view.top = Math.min(this.view.top, this.most());
    this.bins = null;
  }

  resize() {
    const count = Math.max(1, this.rows.length);
    this.rowHeight = count <= 6 ? 36 : count <= 12 ? 30 : 24;
    const limit = Math.max(260, Math.round(innerHeight * 0.62));
    const least = this.view.selected === null ? 0 : 520;
    this.height = Math.min(Math.max(AXIS + count * this.rowHeight + 8, least), Math.max(limit, least));
    document.getElementById("details").style.maxHeight = `${this.height}px`;
    this.width = this.canvas.parentElement.clientWidth;
    this.ratio = devicePixelRatio || 1;
    for (const [canvas, width, height] of [
      [this.canvas, this.width, this.height], [this.overview, this.overview.parentElement.clientWidth, 74],
    ]) {
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.draw();
  }

  /// How far rows can be scrolled.
  most() {
    return Math.max(0, this.rows.length * this.rowHeight + 8 - (this.height - AXIS));
  }

  get scale() {
    return (this.width - GUTTER - 12) / (this.view.to - this.view.from);
  }

  x(at) {
    return GUTTER + (at - this.view.from) * this.scale;
  }

  at(x) {
    return this.view.from + (x - GUTTER) / this.scale;
  }

  y(row) {
    return AXIS + row * this.rowHeight - this.view.top;
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }

  colours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    this.theme = Object.fromEntries(
      ["card", "ink", "dim", "line", "band", "accent", "bad", "mark", "faint"].map((name) => [name, value(name)]));
  }

  paint() {
    const began = performance.now();
    if (!this.theme) this.colours();
    this.drawn = { boxes: 0, merged: 0, edges: 0, ms: 0 };
    const c = this.canvas.getContext("2d");
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = this.theme.card;
    c.fillRect(0, 0, this.width, this.height);
    c.font = "12px ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
    c.textBaseline = "middle";
    const first = Math.max(0, Math.floor(this.view.top / this.rowHeight));
    const end = Math.min(this.rows.length, Math.ceil((this.view.top + this.height) / this.rowHeight));
    this.paintBands(c, first, end);
    c.save();
    c.beginPath();
    c.rect(GUTTER, AXIS, this.width - GUTTER, this.height - AXIS);
    c.clip();
    this.paintGrid(c);
    if (this.view.edges) this.paintEdges(c, first, end);
    for (let row = first; row < end; row++) this.paintRow(c, row);
    if (this.view.path) this.paintPath(c);
    this.paintDeaths(c);
    this.paintSelected(c);
    c.restore();
    this.paintAxis(c);
    this.paintLabels(c, first, end);
    this.paintOverview();
    this.drawn.ms = performance.now() - began;
  }

  paintBands(c, first, end) {
    for (let row = first; row < end; row++) {
      if (this.rows[row].band % 2) continue;
      c.fillStyle = this.theme.band;
      c.fillRect(0, this.y(row), this.width, this.rowHeight);
    }
  }

  ticks() {
    const least = 100 / this.scale;
    let step = 10 ** Math.floor(Math.log10(least));
    while (step < least) step *= step * 2 >= least ? 2 : step * 5 >= least ? 5 : 10;
    const ticks = [];
    for (let at = Math.ceil(this.view.from / step) * step; at <= this.view.to; at += step) ticks.push(at);
    return { step, ticks };
  }

  paintGrid(c) {
    c.strokeStyle = this.theme.line;
    c.lineWidth = 1;
    c.beginPath();
    for (const at of this.ticks().ticks) {
      const x = Math.round(this.x(at)) + 0.5;
      c.moveTo(x, AXIS);
      c.lineTo(x, this.height);
    }
    c.stroke();
  }

  paintAxis(c) {
    c.fillStyle = this.theme.card;
    c.fillRect(0, 0, this.width, AXIS);
    c.fillStyle = this.theme.dim;
    c.textAlign = "center";
    const { step, ticks } = this.ticks();
    for (const at of ticks) {
      const x = this.x(at);
      if (x > GUTTER - 1 && x < this.width - 20) c.fillText(axisTime(at, step), x, AXIS / 2);
    }
    c.fillStyle = this.theme.line;
    c.fillRect(0, AXIS - 1, this.width, 1);
    const marks = this.view.run.remarks;
    c.fillStyle = this.theme.accent;
    let drawn = -9;
    for (const mark of marks) {
      const x = this.x(mark.at);
      if (x < GUTTER || x > this.width || x - drawn < 2) continue;
      drawn = x;
      c.beginPath();
      c.moveTo(x, AXIS - 1);
      c.lineTo(x - 4, AXIS - 7);
      c.lineTo(x + 4, AXIS - 7);
      c.fill();
    }
  }

  paintLabels(c, first, end) {
    c.fillStyle = this.theme.card;
    c.fillRect(0, AXIS, GUTTER, this.height - AXIS);
    this.paintGutterBands(c, first, end);
    c.textAlign = "left";
    for (let row = first; row < end; row++) {
      const { label } = this.rows[row];
      if (!label) continue;
      if (this.y(row) + this.rowHeight / 2 < AXIS) continue;
      c.fillStyle = this.theme.ink;
      c.fillText(clip(c, label, GUTTER - 22), 12, this.y(row) + this.rowHeight / 2 + 0.5);
    }
    c.fillStyle = this.theme.line;
    c.fillRect(GUTTER - 1, 0, 1, this.height);
    if (this.most() > 0) {
      const shown = this.height - AXIS;
      const whole = shown + this.most();
      c.fillStyle = this.theme.faint;
      c.globalAlpha = 0.7;
      c.beginPath();
      c.roundRect(this.width - 8, AXIS + shown * this.view.top / whole + 2, 5, Math.max(20, shown * shown / whole) - 4, 2.5);
      c.fill();
      c.globalAlpha = 1;
    }
    if (!this.rows.length) {
      c.fillStyle = this.theme.dim;
      c.textAlign = "center";
      c.fillText(this.view.run.calls.length ? "all calls are filtered out" : "this run has no calls", this.width / 2, AXIS + 20);
    }
  }

  paintGutterBands(c, first, end) {
    for (let row = first; row < end; row++) {
      if (this.rows[row].band % 2) continue;
      c.fillStyle = this.theme.band;
      c.fillRect(0, Math.max(AXIS, this.y(row)), GUTTER, this.rowHeight - Math.max(0, AXIS - this.y(row)));
    }
    c.fillStyle = this.theme.card;
    c.fillRect(0, 0, GUTTER, AXIS - 1);
  }

  /// The first item of a row that ends behind a moment.
  firstItem(items, from) {
    let low = 0;
    let high = items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (items[middle].to < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /// Items of less than a pixel are drawn together, in columns: as tall as the share of the time in
  /// which the row was busy, in the colours of what ran.
  paintRow(c, row) {
    const { run, from, to } = this.view;
    const { items } = this.rows[row];
    const scale = this.scale;
    const y = this.y(row) + 3;
    const tall = this.rowHeight - 6;
    const broad = 3;
    const colours = new Map();
    let column = -1;
    let bad = false;
    const flush = () => {
      if (column < 0) return;
      const x = column * broad;
      let bottom = y + tall;
      const filled = sum([...colours.values()].map((part) => part[0]));
      const height = Math.min(tall, Math.max(3, tall * filled / broad));
      for (const [colour, [part, match]] of [...colours].sort((a, b) => a[0] < b[0] ? -1 : 1)) {
        c.globalAlpha = match ? 1 : 0.16;
        c.fillStyle = colour;
        const high = height * part / filled;
        c.fillRect(x, bottom - high, broad, high);
        bottom -= high;
      }
      c.globalAlpha = 1;
      if (bad) {
        c.fillStyle = this.theme.bad;
        c.fillRect(x, y - 2, broad, 7);
      }
      colours.clear();
      column = -1;
      bad = false;
    };
    for (let place = this.firstItem(items, from); place < items.length; place++) {
      const item = items[place];
      if (item.from > to) break;
      const call = run.calls[item.c];
      const wide = (item.to - item.from) * scale;
      const x = this.x(item.from);
      const match = this.view.matches(item.c);
      if (wide >= 1.5 || item.c === this.view.selected || !call.a.length) {
        flush();
        this.paintItem(c, item, x, y, tall, match);
        continue;
      }
      const at = Math.floor(x / broad);
      if (at !== column) flush();
      column = at;
      const colour = run.colour(item.c, this.view.colour);
      const part = colours.get(colour);
      if (part) {
        part[0] += Math.max(wide, 1e-3);
        part[1] ||= match;
      } else colours.set(colour, [Math.max(wide, 1e-3), match]);
      bad ||= match && call.o === "failed" && (item.a < 0 || item.a + 1 === call.a.length);
      this.drawn.merged++;
    }
    flush();
  }

  paintItem(c, item, x, y, tall, match) {
    const { run } = this.view;
    const call = run.calls[item.c];
    this.drawn.boxes++;
    c.globalAlpha = match ? 1 : 0.16;
    if (this.view.mode !== "workers" && this.view.waits) this.paintWaits(c, call, y, tall);
    const which = item.a >= 0 ? [item.a] : call.a.keys();
    for (const at of which) this.paintAttempt(c, item.c, at, y, tall, item);
    if (!call.a.length) {
      // It never ran: a diamond where it ended.
      const at = this.x(call.e);
      const middle = y + tall / 2;
      c.fillStyle = OUTCOME_COLOURS[call.o];
      c.beginPath();
      c.moveTo(at - 6, middle);
      c.lineTo(at, middle - 6);
      c.lineTo(at + 6, middle);
      c.lineTo(at, middle + 6);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  paintWaits(c, call, y, tall, thin = Math.max(3, tall * 0.22)) {
    const { run } = this.view;
    for (let at = 0; at < call.p.length; at += 3) {
      const reason = call.p[at];
      if (!run.isWait(reason)) continue;
      const from = Math.max(GUTTER - 2, this.x(call.p[at + 1]));
      const to = Math.min(this.width, this.x(call.p[at + 2]));
      if (to < from) continue;
      c.fillStyle = run.reasonColours[reason];
      c.fillRect(from, y + (tall - thin) / 2, Math.max(0.7, to - from), thin);
    }
  }

  paintAttempt(c, callAt, which, y, tall, item) {
    const { run } = this.view;
    const call = run.calls[callAt];
    const [, start, end, outcome, setup] = call.a[which];
    const left = Math.max(GUTTER - 4, this.x(start));
    const right = Math.min(this.width + 4, Math.max(this.x(end), this.x(start) + 1));
    const wide = right - left;
    if (wide <= 0) return;
    const colour = run.colour(callAt, this.view.colour);
    const bad = outcome === "failed";
    c.fillStyle = colour;
    const round = Math.min(4, wide / 3);
    c.beginPath();
    c.roundRect(left, y, wide, tall, round);
    c.fill();
    if (bad || outcome === "cancelled" || outcome === "unfinished") {
      // Hatched: this time was lost, or its end is not known.
      c.save();
      c.clip();
      c.strokeStyle = bad ? "#ffffff" : this.theme.card;
      c.globalAlpha *= 0.3;
      c.lineWidth = 2;
      c.beginPath();
      const begin = left - left % 8 - tall;
      for (let x = begin; x < right; x += 8) {
        c.moveTo(x, y + tall);
        c.lineTo(x + tall, y);
      }
      c.stroke();
      c.restore();
      c.fillStyle = bad ? this.theme.bad : OUTCOME_COLOURS[outcome];
      c.fillRect(left, y + tall - 4, wide, 4);
    }
    if (setup !== null && setup > start) {
      c.fillStyle = "#00000055";
      const done = Math.min(right, this.x(setup));
      if (done > left) c.fillRect(left, y, done - left, tall);
    }
    const room = right - Math.max(left, GUTTER) - 10;
    if (room > 26) {
      const began = Math.max(left, GUTTER) + 6;
      const name = run.name(callAt);
      const full = `${name}  ${time(end - start)}`;
      c.fillStyle = "#ffffff";
      c.textAlign = "left";
      const shown = c.measureText(full).width <= room ? full : clip(c, name, room);
      c.fillText(shown, began, y + tall / 2 + 0.5);
    } else if (this.view.mode === "calls" && item.a < 0 && which === call.a.length - 1) {
      c.fillStyle = this.theme.dim;
      c.textAlign = "left";
      c.fillText(time(end - start), right + 5, y + tall / 2 + 0.5);
    }
  }

  paintDeaths(c) {
    const { run } = this.view;
    if (this.view.mode !== "workers") {
      c.setLineDash([4, 3]);
      c.strokeStyle = this.theme.bad;
      c.lineWidth = 1.2;
      for (const death of run.deaths) {
        const x = this.x(death.at);
        c.beginPath();
        c.moveTo(x, AXIS);
        c.lineTo(x, this.height);
        c.stroke();
      }
      c.setLineDash([]);
      return;
    }
    const bands = new Map();
    this.rows.forEach((row, place) => {
      if (row.first) bands.set(row.key, [place, row.lanes]);
    });
    c.strokeStyle = this.theme.bad;
    c.fillStyle = this.theme.bad;
    c.lineWidth = 2;
    for (const death of run.deaths) {
      const band = death.worker === null ? null : bands.get(run.workers[death.worker].id);
      if (!band) continue;
      // On the attempt that it ended, or across the worker.
      const hit = death.hit && this.row(death.hit[0], death.hit[1]);
      const x = this.x(death.at);
      const from = this.y(hit ?? band[0]);
      c.beginPath();
      c.moveTo(x, from);
      c.lineTo(x, from + (hit === null || hit === undefined ? band[1] : 1) * this.rowHeight);
      c.stroke();
      const middle = from + this.rowHeight / 2;
      c.beginPath();
      c.arc(x, middle, 7, 0, 7);
      c.fill();
      c.strokeStyle = "#ffffff";
      c.beginPath();
      c.moveTo(x - 3, middle - 3);
      c.lineTo(x + 3, middle + 3);
      c.moveTo(x + 3, middle - 3);
      c.lineTo(x - 3, middle + 3);
      c.stroke();
      c.strokeStyle = this.theme.bad;
    }
  }

  /// The row of an attempt, if it is shown. Where calls are shown as a whole, all have the same.
  row(at, which) {
    const place = this.places.get(at);
    return place && (place.rows.length ? place.rows[which] : place.last);
  }

  /// Where a call begins, or ends, on the paper.
  entry(at) {
    const row = this.row(at, 0);
    const { a, e } = this.view.run.calls[at];
    return row === undefined ? null : [this.x(a.length ? a[0][1] : e), this.y(row) + this.rowHeight / 2];
  }

  exit(at) {
    const call = this.view.run.calls[at];
    const row = this.row(at, call.a.length - 1);
    return row === undefined ? null : [this.x(call.e), this.y(row) + this.rowHeight / 2];
  }

  curve(c, from, to) {
    const bend = Math.min(60, Math.max(12, Math.abs(to[0] - from[0]) / 2));
    c.moveTo(from[0], from[1]);
    c.bezierCurveTo(from[0] + bend, from[1], to[0] - bend, to[1], to[0], to[1]);
  }

  paintEdges(c) {
    const { run } = this.view;
    const most = 1500;
    c.beginPath();
    let drawn = 0;
    for (let at = 0; at < run.calls.length && drawn <= most; at++) {
      const call = run.calls[at];
      if (!call.d || call.b > this.view.to || !this.places.has(at)) continue;
      const to = this.entry(at);
      if (!to) continue;
      for (const dep of call.d) {
        if (run.calls[dep].e < this.view.from && to[0] < GUTTER) continue;
        const from = this.exit(dep);
        if (!from || Math.max(from[1], to[1]) < AXIS || Math.min(from[1], to[1]) > this.height) continue;
        this.curve(c, from, to);
        drawn++;
      }
    }
    this.drawn.edges = drawn;
    // More than that is a carpet, not a picture.
    if (drawn > most) return;
    c.strokeStyle = this.theme.dim;
    c.globalAlpha = drawn > 300 ? 0.18 : 0.45;
    c.lineWidth = 1.1;
    c.stroke();
    c.globalAlpha = 1;
  }

  paintPath(c) {
    const { run } = this.view;
    c.strokeStyle = this.theme.mark;
    // A long one is a thin one, or it hides what it runs along.
    c.lineWidth = run.path.length > 400 ? 1.4 : 2.5;
    c.lineJoin = "round";
    c.beginPath();
    let before = null;
    for (const [at, reason, from, to] of run.path) {
      const place = at === null ? null : this.places.get(at);
      if (!place) continue;
      if (run.isWait(reason) && (this.view.mode === "workers" || !this.view.waits)) continue;
      const call = run.calls[at];
      const row = this.row(at, call.a.findIndex((attempt) => attempt[1] <= from && to <= attempt[2]));
      if (row === undefined) continue;
      const y = this.y(row) + 2;
      const [left, right] = [this.x(from), this.x(to)];
      if (before && (before[1] !== y || left - before[0] > 0.5)) {
        c.moveTo(...before);
        if (before[1] === y || left - before[0] < 24) c.lineTo(left, y);
        else this.curve(c, before, [left, y]);
      }
      c.moveTo(left, y);
      c.lineTo(right, y);
      before = [right, y];
    }
    c.stroke();
  }

  paintSelected(c) {
    const { run, selected } = this.view;
    const place = selected === null ? null : this.places.get(selected);
    if (!place) return;
    const call = run.calls[selected];
    c.lineWidth = 1.8;
    c.strokeStyle = this.theme.accent;
    c.beginPath();
    const [entry, exit] = [this.entry(selected), this.exit(selected)];
    for (const dep of (call.d ?? []).slice(0, 400)) {
      const from = this.exit(dep);
      if (from && entry) this.curve(c, from, entry);
    }
    for (const consumer of (run.consumers[selected] ?? []).slice(0, 400)) {
      const to = this.entry(consumer);
      if (exit && to) this.curve(c, exit, to);
    }
    c.stroke();
    c.setLineDash([5, 4]);
    c.beginPath();
    for (const child of (run.children[selected] ?? []).slice(0, 400)) {
      const to = this.entry(child);
      if (exit && to) this.curve(c, [this.x(run.calls[child].b), exit[1]], to);
    }
    const caller = call.c === undefined ? null : this.exit(call.c);
    if (caller && entry) this.curve(c, [this.x(call.b), caller[1]], entry);
    c.stroke();
    c.setLineDash([]);
    const tall = this.rowHeight - 6;
    if (this.view.mode === "workers" && entry) {
      // What it waited for before it got there, below what ran there meanwhile.
      const y = entry[1] + this.rowHeight / 2 - 5;
      c.fillStyle = this.theme.card;
      c.fillRect(this.x(call.b), y - 1, this.x(call.a.length ? call.a[0][1] : call.e) - this.x(call.b), 6);
      this.paintWaits(c, call, y, 4, 4);
    }
    c.lineWidth = 2.5;
    c.strokeStyle = this.theme.accent;
    call.a.forEach(([, start, end], which) => {
      const row = this.row(selected, which);
      if (row === undefined) return;
      const y = this.y(row) + 3;
      c.beginPath();
      c.roundRect(this.x(start) - 2, y - 2, Math.max(3, (end - start) * this.scale) + 4, tall + 4, 5);
      c.stroke();
    });
  }

  /// How much ran and waited in each piece of the run.
  fillBins() {
    const { run } = this.view;
    const size = 600;
    const step = run.length / size;
    const running = new Float64Array(size);
    const waits = run.reasons.map(() => null);
    const add = (bins, from, to) => {
      let at = Math.max(0, Math.min(size - 1, Math.floor(from / step)));
      for (; at < size && at * step < to; at++) {
        bins[at] += (Math.min(to, (at + 1) * step) - Math.max(from, at * step)) / step;
      }
    };
    run.calls.forEach((call, at) => {
      if (!this.view.visible(at)) return;
      for (let place = 0; place < call.p.length; place += 3) {
        const reason = call.p[place];
        // Inputs are waited for by whole graphs at once; what is ready and waits is of interest.
        if (run.reasonKeys[reason] === "inputs") continue;
        const bins = run.isWait(reason) ? waits[reason] ??= new Float64Array(size) : running;
        add(bins, call.p[place + 1], call.p[place + 2]);
      }
    });
    const total = new Float64Array(size);
    waits.forEach((bins) => bins?.forEach((value, at) => total[at] += value));
    const most = (bins) => bins.reduce((a, b) => Math.max(a, b), 0);
    this.bins = { size, running, waits, mostRunning: most(running), mostWaiting: most(total) };
  }

  overviewX(at) {
    return GUTTER + at / this.view.run.length * (this.overview.parentElement.clientWidth - GUTTER - 12);
  }

  overviewAt(x) {
    const wide = this.overview.parentElement.clientWidth - GUTTER - 12;
    return Math.max(0, Math.min(1, (x - GUTTER) / wide)) * this.view.run.length;
  }

  paintOverview() {
    if (!this.bins) this.fillBins();
    const { run } = this.view;
    const { size, running, waits, mostRunning, mostWaiting } = this.bins;
    const c = this.overview.getContext("2d");
    const width = this.overview.parentElement.clientWidth;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = this.theme.card;
    c.fillRect(0, 0, width, 74);
    c.font = "12px ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
    c.textBaseline = "middle";
    c.textAlign = "left";
    const round = (value) => value < 10 ? +value.toFixed(1) : Math.round(value);
    c.fillStyle = this.theme.ink;
    c.fillText("running", 12, 16);
    c.fillText("ready, waiting", 12, 50);
    c.fillStyle = this.theme.dim;
    c.fillText(`up to ${round(mostRunning)}`, 12, 31);
    c.fillText(`up to ${round(mostWaiting)}`, 12, 64);
    const wide = (width - GUTTER - 12) / size;
    for (let at = 0; at < size; at++) {
      const x = Math.round(GUTTER + at * wide);
      const broad = Math.round(GUTTER + (at + 1) * wide) - x;
      let y = 38;
      const tall = mostRunning ? 33 * running[at] / mostRunning : 0;
      c.fillStyle = REASON_COLOURS.running;
      c.fillRect(x, y - tall, broad, tall);
      y = 72;
      waits.forEach((bins, reason) => {
        if (!bins || !bins[at]) return;
        const tall = 28 * bins[at] / mostWaiting;
        c.fillStyle = run.reasonColours[reason];
        c.fillRect(x, y - tall, broad, tall);
        y -= tall;
      });
    }
    c.fillStyle = this.theme.line;
    c.fillRect(GUTTER, 38, width - GUTTER, 1);
    c.fillStyle = this.theme.bad;
    for (const death of run.deaths) c.fillRect(this.overviewX(death.at) - 1, 2, 2, 36);
    const [left, right] = [this.view.from, this.view.to].map((at) => Math.max(GUTTER, Math.min(width - 12, this.overviewX(at))));
    c.fillStyle = this.theme.card;
    c.globalAlpha = 0.66;
    c.fillRect(GUTTER, 0, Math.max(0, left - GUTTER), 74);
    c.fillRect(right, 0, Math.max(0, width - right), 74);
    c.globalAlpha = 1;
    if (right - left < width - GUTTER - 14) {
      c.strokeStyle = this.theme.accent;
      c.lineWidth = 2;
      c.strokeRect(left + 0.5, 1, Math.max(2, right - left), 72);
    }
  }

  /// The call under a point, and its attempt.
  hit(x, y) {
    if (x < GUTTER || y < AXIS) return null;
    const row = this.rows[Math.floor((y - AXIS + this.view.top) / this.rowHeight)];
    if (!row) return null;
    const slack = 4 / this.scale;
    const at = this.at(x);
    let best = null;
    let near = Infinity;
    for (let place = this.firstItem(row.items, at - slack * 2); place < row.items.length; place++) {
      const item = row.items[place];
      if (item.from > at + slack * 2) break;
      const far = Math.max(item.from - at, at - item.to, 0);
      if (far < near || far === near && this.view.matches(item.c) && !this.view.matches(best.c)) {
        near = far;
        best = item;
      }
    }
    return near <= slack * 2 ? best : null;
  }
}

function axisTime(at, step) {
  if (at === 0) return "0";
  const unit = step >= 1e6 ? [1e6, "s"] : step >= 1e3 ? [1e3, "ms"] : [1, "\u00b5s"];
  if (step >= 60e6) return time(at);
  const [size, name] = at >= 1e6 && step >= 1e3 ? [1e6, "s"] : unit;
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
  return `${(at / size).toFixed(digits)} ${name}`;
}

function clip(c, text, room) {
  if (c.measureText(text).width <= room) return text;
  let low = 0;
  let high = Math.min(text.length, 200);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (c.measureText(text.slice(0, middle) + "\u2026").width <= room) low = middle;
    else high = middle - 1;
  }
  return low ? text.slice(0, low) + "\u2026" : "";
}
