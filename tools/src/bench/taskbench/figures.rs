//! The figures of the section: for each system and pattern one.

use super::super::section::{Axis, Bars, Figure, Panel, Unit, measured, ratio};

/// The METG of a system in the patterns of every run.
macro_rules! always {
    ($prefix:literal, $system:literal) => {
        &[
            measured(
                concat!($prefix, "metg_stencil_w4_us"),
                Unit::Us,
                concat!($system, ": stencil_1d"),
                "METG(50 %), 4 wide, as metg_stencil_w4_us",
            ),
            measured(
                concat!($prefix, "metg_trivial_w4_us"),
                Unit::Us,
                concat!($system, ": trivial"),
                "METG(50 %), 4 wide, as metg_trivial_w4_us",
            ),
        ]
    };
}

/// The METG of a system in the other patterns.
macro_rules! others {
    ($prefix:literal, $system:literal) => {
        others!(@ $prefix, $system, "no_comm" "nearest" "spread" "fft" "tree" "dom" "random_nearest")
    };
    (@ $prefix:literal, $system:literal, $($pattern:literal)*) => {
        &[$(measured(
            concat!($prefix, "metg_", $pattern, "_w4_us"),
            Unit::Us,
            concat!($system, ": ", $pattern),
            "METG(50 %), 4 wide",
        )),*]
    };
}

const OURS: &[Figure] = &[
    measured("taskbench.pingpong_ns", Unit::Ns, "ping-pong", "two bare processes, p50"),
    measured(
        "taskbench.iteration_ns",
        Unit::Ns,
        "iteration of the kernel",
        "alone on both processors, in the same round: what all efficiencies are shares of",
    ),
    measured(
        "metg_stencil_w4_us",
        Unit::Us,
        "processes: stencil_1d",
        "METG(50 %), 4 wide, 2 workers: the least wall time x 2 processors / tasks at which they \
         compute half of what the bare kernel does",
    )
    .flat(),
    measured(
        "ratio_metg_stencil",
        Unit::Ratio,
        "/ ping-pong",
        "metg_stencil_w4_us / taskbench.pingpong_ns",
    )
    .flat()
    .at_most(4.0, 4.0),
    measured(
        "metg_trivial_w4_us",
        Unit::Us,
        "processes: trivial",
        "METG(50 %), 4 wide, 2 workers: tasks that wait for nobody",
    )
    .flat(),
    measured(
        "ratio_metg_trivial",
        Unit::Ratio,
        "/ ping-pong",
        "metg_trivial_w4_us / taskbench.pingpong_ns",
    )
    .flat()
    .at_most(2.0, 2.0),
];

const TAX: &[Figure] = &[ratio(
    "isolation_tax_metg_stencil",
    "metg_stencil_w4_us",
    "thread.metg_stencil_w4_us",
    "stencil_1d, process / thread",
)];

const PARTS: &[&[Figure]] = &[
    OURS,
    always!("replay.", "replay"),
    always!("thread.", "threads"),
    TAX,
    always!("bare.", "bare loop"),
    always!("rayon.", "rayon"),
    always!("channel.", "channel pool"),
    always!("tokio.", "tokio"),
    others!("", "processes"),
    others!("replay.", "replay"),
    others!("thread.", "threads"),
    others!("bare.", "bare loop"),
    others!("rayon.", "rayon"),
    others!("channel.", "channel pool"),
    others!("tokio.", "tokio"),
];

pub(super) static ALL: [Figure; COUNT] = {
    let mut all = [OURS[0]; COUNT];
    let (mut part, mut next) = (0, 0);
    while part < PARTS.len() {
        let mut at = 0;
        while at < PARTS[part].len() {
            all[next] = PARTS[part][at];
            (at, next) = (at + 1, next + 1);
        }
        part += 1;
    }
    all
};

const COUNT: usize = {
    let (mut part, mut count) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// Panels of METG by width.
pub(super) const STENCIL_WIDTHS: &str = "taskbench.stencil_width";
pub(super) const TRIVIAL_WIDTHS: &str = "taskbench.trivial_width";
/// The panel of a whole sweep.
pub(super) const EFFICIENCY: &str = "taskbench.efficiency";

pub(super) const PANELS: &[Panel] = &[
    widths(STENCIL_WIDTHS, "METG(50 %) of stencil_1d by width"),
    widths(TRIVIAL_WIDTHS, "METG(50 %) of trivial by width"),
    Panel {
        name: EFFICIENCY,
        title: "Efficiency, stencil_1d, 4 wide",
        x: Axis::log("us of work in a task"),
        y: Axis::linear("% of the bare kernel"),
    },
];

const fn widths(name: &'static str, title: &'static str) -> Panel {
    Panel { name, title, x: Axis::log("tasks of a step"), y: Axis::log("us") }
}

pub(super) const BARS: &[Bars] = &[
    Bars {
        title: "METG(50 %) of stencil_1d, 4 wide, 2 workers",
        unit: "us",
        bars: &[
            ("bare loop", "bare.metg_stencil_w4_us"),
            ("mailring, processes", "metg_stencil_w4_us"),
            ("mailring, replay", "replay.metg_stencil_w4_us"),
            ("mailring, threads", "thread.metg_stencil_w4_us"),
            ("rayon", "rayon.metg_stencil_w4_us"),
            ("channel pool", "channel.metg_stencil_w4_us"),
            ("tokio", "tokio.metg_stencil_w4_us"),
        ],
    },
    Bars {
        title: "METG(50 %) of trivial, 4 wide, 2 workers",
        unit: "us",
        bars: &[
            ("bare loop", "bare.metg_trivial_w4_us"),
            ("mailring, processes", "metg_trivial_w4_us"),
            ("mailring, replay", "replay.metg_trivial_w4_us"),
            ("mailring, threads", "thread.metg_trivial_w4_us"),
            ("rayon", "rayon.metg_trivial_w4_us"),
            ("channel pool", "channel.metg_trivial_w4_us"),
            ("tokio", "tokio.metg_trivial_w4_us"),
        ],
    },
];
