#!/usr/bin/env python3
"""The tables of README.md and docs/benchmarks.md, from files that `mailring bench --json` has written:

    for run in 1 2 3 4 5; do cargo run --release -- bench --json run$run.json; done
    bash tools/peers/run.sh --json peers.json
    python3 tools/bench_tables.py run?.json --peers peers.json

A figure of several runs is the median of their medians, with the least and the greatest of these in
brackets; runs near and far stay apart. Replaces what stands between `<!-- bench NAME -->` and
`<!-- end -->` in both files. With --print the tables go to stdout, and nothing is changed."""

import argparse
import json
import re
import statistics
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ["README.md", "docs/benchmarks.md"]

SYSTEMS = [
    ("processes", ""),
    ("replay", "replay."),
    ("threads", "thread."),
    ("bare loop", "bare."),
    ("rayon", "rayon."),
    ("channel pool", "channel."),
    ("tokio", "tokio."),
]
PATTERNS = ["trivial", "no_comm", "stencil", "nearest", "spread", "fft", "tree", "dom", "random_nearest"]
TAXES = [
    ("round trip", "rtt"),
    ("independent task", "independent"),
    ("chained task", "chain"),
    ("group of two", "group2"),
    ("task of a fan of 64", "fan64"),
    ("METG(50 %) of stencil_1d", "metg_stencil"),
]
PEER_COLUMNS = [
    ("round trip", "rtt_ns_p50", 1),
    ("independent", "independent_ns", 1),
    ("chained", "chain_ns", 1),
    ("METG stencil_1d", "metg_stencil_w4_us", 1e3),
    ("METG trivial", "metg_trivial_w4_us", 1e3),
]


def number(value):
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def scaled(value, units, step):
    unit = units[0]
    for following in units[1:]:
        if abs(value) < step:
            break
        value, unit = value / step, following
    return value, unit


def time(ns):
    value, unit = scaled(ns, ["ns", "us", "ms", "s"], 1e3)
    return f"{number(value)} {unit}"


def size(value):
    value, unit = scaled(value, ["B", "KiB", "MiB", "GiB"], 1024)
    return f"{number(value)} {unit}"


SHOW = {
    "ns": time,
    "us": lambda value: time(value * 1e3),
    "ms": lambda value: time(value * 1e6),
    "per_second": lambda value: f"{number(value / 1e6)} M",
    "percent": lambda value: f"{number(value)} %",
    "bytes": size,
    "ratio": number,
}


def ranged(values, show):
    """The median, and the range in the same words."""
    middle, low, high = (show(f(values)) for f in (statistics.median, min, max))
    if low == high:
        return middle
    value, _, unit = low.partition(" ")
    if unit == high.partition(" ")[2]:
        low = value
    return f"{middle} ({low} to {high})"


def unit_of(key):
    """Of a figure with a key that says so."""
    units = (unit for unit in ("ns", "us", "ms") if re.search(rf"_{unit}(_|$)", key))
    return next(units, "ratio")


class State:
    """All runs, as they were near or far."""

    def __init__(self, name, runs):
        self.name, self.runs = name, runs

    def values(self, key):
        details = (run["detail"].get(key, {}) for run in self.runs)
        return [detail[self.name] for detail in details if self.name in detail]

    def median(self, key):
        values = self.values(key)
        return statistics.median(values) if values else None

    def plain(self, key, unit=None):
        """The median alone."""
        median = self.median(key)
        return "" if median is None else SHOW[unit or unit_of(key)](median)

    def cell(self, key, unit=None):
        """The median, and the range of the runs."""
        values = self.values(key)
        return ranged(values, SHOW[unit or unit_of(key)]) if values else ""

    def heading(self):
        floor = self.cell("tasks.pingpong_ns") or self.cell("floor_pingpong_ns")
        return f"**{self.name.capitalize()}**: ping-pong {floor}"


def table(head, rows):
    """Without columns that are empty, and rows that have no figures."""
    rows = [row for row in rows if any(row[1:])]
    columns = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    if not rows:
        return []
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line[at] for at in columns) + " |" for line in lines]


def figures_of(state, section):
    """What the report says of a section, in its order: title, and figures by key."""
    title, found = "", {}
    for run in state.runs:
        for known in run["detail"].get("sections", []):
            if known["name"] == section:
                title = known["title"]
                found.update((figure["key"], figure) for figure in known["figures"])
    return title, found


def sections(state, *names):
    """A table for each section, as the report has it."""
    lines = []
    for name in names:
        title, figures = figures_of(state, name)
        rows = []
        for key, figure in figures.items():
            if key.endswith("pingpong_ns") and key != "floor_pingpong_ns":
                continue
            under = figure["unit"] == "ratio" or figure["label"].startswith(" ")
            rows.append(["&emsp;" * under + figure["label"].strip(), state.cell(key, figure["unit"])])
        part = table([title, ""], rows)
        lines += [""] * bool(lines and part) + part
    return lines


def versus(state, head, rows):
    """Pairs and their ratios, by their keys."""
    return table(head, [[label] + [state.cell(key) for key in keys] for label, *keys in rows])


def c(state):
    names = [
        ("round trip", "rtt", "rtt_ns"),
        ("independent task", "independent", "independent_ns"),
        ("chained task", "chain", "chain_ns"),
        ("independent task of a replay", "replay_independent", "replay_independent_ns"),
        ("chained task of a replay", "replay_chain", "replay_chain_ns"),
    ]
    rows = [(label, f"c.{key}", f"c.rust_{key}", f"ratio_c_{name}") for label, name, key in names]
    return versus(state, ["", "C", "Rust", "C / Rust"], rows)


def typed(state):
    names = [
        ("submit, until it returns", "submit"),
        ("adding two vectors of 4,096 numbers, in a body", "add"),
        ("independent task of a replay", "replay_independent"),
        ("chained task of a replay", "replay_chain"),
    ]
    rows = [
        (label, f"typed.{name}_ns", f"typed.plain_{name}_ns", f"ratio_typed_{name}") for label, name in names
    ]
    return versus(state, ["", "typed", "without types", "typed / not"], rows)


def series(state, panel, head, show):
    """A plot as a table: a row for each system, a column for each place."""
    lines = {}
    for run in state.runs:
        if run["verdict"]["state"] != state.name:
            continue
        for name, points in run["detail"]["series"].get(panel, {}).items():
            for x, y in points:
                lines.setdefault(name, {}).setdefault(x, []).append(y)
    places = sorted({x for points in lines.values() for x in points})
    cell = lambda values: show(statistics.median(values)) if values else ""
    order = lambda name: next(at for at, (own, _) in enumerate(SYSTEMS) if own in name)
    names = sorted(lines, key=order)
    rows = [[name] + [cell(lines[name].get(x)) for x in places] for name in names]
    return table([head] + [f"{x:,.0f}" for x in places], rows)


def tasks(state):
    loads = [
        ("round trip", "rtt_ns_p50"),
        ("independent task", "independent_ns"),
        ("chained task", "chain_ns"),
    ]
    systems = [system for system in SYSTEMS if system[0] != "replay"]
    rows = [[load] + [state.cell(prefix + key) for _, prefix in systems] for load, key in loads]
    return table([""] + [name for name, _ in systems], rows)


def replay(state):
    """Of the section `replay`, and the same through the other interfaces."""
    loads = [("independent task", "independent_ns"), ("chained task", "chain_ns")]
    forms = [
        ("submitted", "replay.fresh_"),
        ("replayed", "replay_"),
        ("replayed, typed", "typed.replay_"),
        ("replayed, from C", "c.replay_"),
        ("rayon", "replay.rayon_"),
    ]
    rows = [[load] + [state.cell(prefix + key) for _, prefix in forms] for load, key in loads]
    return table([""] + [name for name, _ in forms], rows)


def tax(state):
    return table(
        ["", "process / thread"],
        [[label, state.cell("isolation_tax_" + key)] for label, key in TAXES],
    )


def metg(state):
    key = lambda pattern: f"metg_{pattern}_w4_us"
    label = lambda pattern: "`" + pattern.replace("stencil", "stencil_1d") + "`"
    rows = [
        [label(pattern)] + [state.cell(prefix + key(pattern)) for _, prefix in SYSTEMS]
        for pattern in PATTERNS
    ]
    return table([""] + [name for name, _ in SYSTEMS], rows)


def widths(state):
    show = lambda us: time(us * 1e3)
    lines = []
    for pattern in ["stencil", "trivial"]:
        head = f"{pattern.replace('stencil', 'stencil_1d')}, tasks of a step"
        part = series(state, f"taskbench.{pattern}_width", head, show)
        lines += [""] * bool(lines and part) + part
    return lines


def growth(state):
    _, figures = figures_of(state, "growth")
    rows = []
    for key, figure in figures.items():
        base = re.sub(r"[._]few_ns$", "", key)
        many = figures.get(f"{base}_many_ns") or figures.get("growth.many_ns")
        if base != key and many:
            ratio = f"{base}_ratio" if f"{base}_ratio" in figures else "growth_ratio"
            rows.append((f"{figure['label']}; {many['label']}", key, many["key"], ratio))
    lines = versus(state, ["", "few", "many", "many / few"], rows)
    what = "host and worker together, from 100,000 tasks to all of them"
    memory = table(["", "memory"], [[what, state.cell("rss_growth_bytes", "bytes")]])
    steps = series(state, "growth.tasks", "time of a task, of so many", time)
    for part in (memory, steps):
        lines += [""] * bool(lines and part) + part
    return lines


def workers(state):
    titles = [
        ("rtt", "round trip"),
        ("independent", "independent task"),
        ("chain", "chained task"),
        ("group", "group of all workers"),
    ]
    lines = []
    for key, title in titles:
        part = series(state, f"workers.{key}", f"{title}, workers", time)
        lines += [""] * bool(lines and part) + part
    return lines


def readme(state):
    """The tables of README.md."""
    systems = [system for system in SYSTEMS if system[0] != "replay"]
    loads = [
        ("round trip", "rtt_ns_p50"),
        ("independent task", "independent_ns"),
        ("chained task", "chain_ns"),
    ]
    rows = [[load] + [state.plain(prefix + key) for _, prefix in systems] for load, key in loads]
    of_replay = [state.plain(f"replay_{key}_ns") for key in ("independent", "chain")]
    if all(of_replay):
        rows.append(["of a replay: independent, chained", ", ".join(of_replay)] + [""] * 5)
    lines = table(["one worker, empty tasks"] + [name for name, _ in systems], rows) + [""]

    def several(keys, unit=None):
        cells = [state.plain(key, unit) for key in keys.split()]
        return "; ".join(cells) if all(cells) else ""

    def ratios(keys):
        cells = [state.cell(key) for key in keys.split()]
        return "; ".join(cells) if all(cells) else ""

    rows = [
        ["round trip / ping-pong", several("rtt_ns_p50"), ratios("ratio_rtt")],
        ["independent task / rayon's `spawn`", several("independent_ns"), ratios("ratio_independent_rayon")],
        ["chained task / rayon's", several("chain_ns"), ratios("ratio_chain_rayon")],
        [
            "isolation: process / thread; round trip, independent, chained",
            "",
            ratios("isolation_tax_rtt isolation_tax_independent isolation_tax_chain"),
        ],
        [
            "METG(50 %) of stencil_1d, 4 wide, 2 workers / ping-pong",
            several("metg_stencil_w4_us"),
            ratios("ratio_metg_stencil"),
        ],
        ["METG(50 %) of trivial / ping-pong", several("metg_trivial_w4_us"), ratios("ratio_metg_trivial")],
        ["group of two / ping-pong", several("group2_ns"), ratios("ratio_group2")],
        ["wake of a parked worker / futex round trip", several("wake_ns"), ratios("ratio_wake")],
        ["task among 10^6 / among 10^4", several("growth.many_ns"), ratios("growth_ratio")],
        [
            "arguments into the block of a chip / the whole block copied",
            several("storage.chip_used_ns"),
            ratios("storage_ratio"),
        ],
        [
            "round trip; independent task from C / from Rust",
            several("c.rtt_ns c.independent_ns"),
            ratios("ratio_c_rtt ratio_c_independent"),
        ],
        ["flow: a call and its value / round trip of the engine", several("flow.rtt_ns"), ratios("ratio_flow_rtt")],
        ["flow: chained call / chained task", several("flow.chain_ns"), ratios("ratio_flow_chain")],
        ["flow: cancel of a queued task", several("flow_cancel_us"), ""],
        ["death noticed, inside a body; replaced and working", several("death_notice_busy_ms respawn_busy_ms"), ""],
        ["idle executor, share of one processor", several("idle_cpu_percent", "percent"), ""],
    ]
    return lines + table(["", "", "ratio"], rows)


def intro(states, runs):
    """What was run, and where."""
    machine = runs[0]["machine"]
    commands = [run["command"].replace("mailring", "cargo run --release --", 1) for run in runs]
    counts = {command: commands.count(command) for command in commands}
    times = lambda count: "" if len(runs) == 1 else "one run of " if count == 1 else f"{count} runs of "
    ran = ", ".join(f"{times(count)}`{command}`" for command, count in counts.items())
    ran = ran[0].upper() + ran[1:]
    floors = "; ".join(
        f"{state.name} (two bare processes pass a cache line there and back in "
        f"{state.plain('tasks.pingpong_ns')})"
        for state in states
    )
    several = " Medians of the runs, with their range." if len(runs) > 1 else " Medians."
    noisy = [run for run in runs if not run["verdict"]["judged"]]
    quiet = ""
    if noisy:
        reasons = "; ".join(sorted({why for run in noisy for why in run["verdict"]["reasons"]}))
        quiet = f" Too noisy to be judged were {len(noisy)} of {len(runs)}: {reasons}."
    return (
        f"{ran} on a virtual machine: {machine['model']}, {machine['processors']} processors, "
        f"Linux {machine['kernel']}; {floors}.{several}{quiet}"
    )


def wrapped(text):
    return textwrap.wrap(text, 104, break_on_hyphens=False, break_long_words=False)


def peers(files):
    columns = [name for name, _, _ in PEER_COLUMNS]
    names = list(dict.fromkeys(name for file in files for name in file["systems"]))
    rows, how = [], {}
    for name in names:
        runs = [file["systems"][name] for file in files if name in file["systems"]]
        how[name] = runs[0]["how"]
        row = [f"{name}"]
        for _, key, factor in PEER_COLUMNS:
            values = [run[key] * factor for run in runs if key in run]
            row.append(ranged(values, time) if values else "")
        rows.append(row + [how[name]])
    lines = table([""] + columns + ["how"], rows)
    missing = {name: why for file in files for name, why in file["missing"].items() if name not in names}
    if missing:
        lines.append("")
    lines += [f"* missing: {name}: {why}" for name, why in missing.items()]
    machine = files[0]["machine"]
    count = f"{len(files)} runs" if len(files) > 1 else "one run"
    head = f"{machine['model']}, {machine['processors']} processors, Linux {machine['kernel']}; {count}."
    return wrapped(head) + [""] + lines


BLOCKS = {
    "floor": lambda state: sections(state, "floor"),
    "tasks": tasks,
    "tax": tax,
    "replay": replay,
    "groups": lambda state: sections(state, "groups", "wake"),
    "metg": metg,
    "widths": widths,
    "growth": growth,
    "workers": workers,
    "flow": lambda state: sections(state, "flow"),
    "c": c,
    "typed": typed,
    "rest": lambda state: sections(state, "alloc", "storage", "deaths", "lifecycle", "idle"),
}


def blocks(runs, peer_files):
    """All blocks by name, as lines."""
    done = {}
    if runs:
        states = [State(name, runs) for name in ("near", "far")]
        states = [state for state in states if state.values("tasks.pingpong_ns")]
        if not states:
            sys.exit("no file has the section `tasks`, which says near or far")
        done["intro"] = wrapped(intro(states, runs))
        most = max(states, key=lambda state: len(state.values("tasks.pingpong_ns")))
        links = (
            " `--json`, `--plot` and [docs/benchmarks.md](docs/benchmarks.md) have the rest: the method, "
            "near and far, peers, Task Bench."
        )
        done["readme"] = wrapped(intro([most], runs) + links) + [""] + readme(most)
        for name, block in BLOCKS.items():
            lines = []
            for state in states:
                part = block(state)
                if part:
                    lines += [""] * bool(lines) + [state.heading(), ""] + part
            done[name] = lines or ["Not measured in these runs."]
    if peer_files:
        done["peers"] = peers(peer_files)
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="FILE", help="of `mailring bench --json FILE`")
    parser.add_argument("--peers", nargs="+", metavar="FILE", default=[], help="of `tools/peers/run.sh --json FILE`")
    parser.add_argument("--print", action="store_true", help="to stdout; nothing is changed")
    options = parser.parse_args()
    if not options.runs and not options.peers:
        parser.error("no files")
    read = lambda names: [json.loads(Path(name).read_text()) for name in names]
    done = blocks(read(options.runs), read(options.peers))
    if options.print:
        for name, lines in done.items():
            print(f"## {name}\n\n" + "\n".join(lines) + "\n")
        return
    for file in FILES:
        path = ROOT / file
        text = path.read_text()
        for name in re.findall(r"<!-- bench (\S+) -->", text):
            if name not in done:
                continue
            pattern = rf"(<!-- bench {name} -->\n).*?(<!-- end -->)"
            lines = "\n" + "\n".join(done[name]) + "\n\n"
            text, count = re.subn(pattern, lambda m: m[1] + lines + m[2], text, flags=re.S)
            if count != 1:
                sys.exit(f"{file}: `<!-- bench {name} -->` without its `<!-- end -->`")
        path.write_text(text)


if __name__ == "__main__":
    main()
