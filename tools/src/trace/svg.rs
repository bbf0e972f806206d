//! `--format svg`: the graph of a run laid out in time. Rows are those of workers; edges run from the
//! end of a call to the beginning of the one that needs it.

use std::collections::HashMap;
use std::fmt::Write;

use super::lanes::{Place, bands};
use super::model::{Call, Outcome, Run, duration};
use super::path;
use super::summary::functions;

/// Of the picture, in pixels.
const LABELS: f64 = 150.0;
const TOP: f64 = 96.0;
const MARGIN: f64 = 24.0;
const ROW: f64 = 40.0;
const BOX: f64 = 28.0;
/// Rows of runs that nobody can read call by call.
const DENSE_ROW: f64 = 22.0;
const DENSE_BOX: f64 = 18.0;

const NARROWEST: f64 = 900.0;
const WIDEST: f64 = 8_000.0;
/// As wide as a usual call should be, to be labelled.
const USUAL: f64 = 90.0;

/// Beyond these, edges are left out, and boxes that lie on each other are drawn as one.
const MOST_EDGES: usize = 4_000;
const DENSE: usize = 1_500;

/// Told apart by everybody (after Okabe and Ito), on white and on black.
pub(super) const COLOURS: [&str; 10] = [
    "#3b82c4", "#e08a1e", "#2a9d78", "#c76aa0", "#8a6fd1", "#4fb3d9", "#b5892b", "#9c6b4e",
    "#6b9b37", "#7d8697",
];

const STYLE: &str = "\
text { font: 12px ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1d2733 }
.paper { fill: #ffffff } .title { font-size: 18px; font-weight: 600 } .dim { fill: #5d6b7a }
.band { fill: #f3f5f8 } .grid { stroke: #dfe4ea; stroke-width: 1 }
.call text { font-size: 11px; fill: #ffffff; pointer-events: none } .call .out { fill: #1d2733 }
.edge { fill: none; stroke: #5d6b7a; stroke-width: 1.2; opacity: .55 }
.spawn { stroke: #3b82c4; stroke-dasharray: 5 4 }
.critical { fill: none; stroke: #17212e; stroke-width: 2.2; stroke-linejoin: round }
.failed { fill: #d4372c } .death { stroke: #d4372c; stroke-width: 2 }
.setup { fill: #000000; opacity: .28 }
@media (prefers-color-scheme: dark) {
  text, .call .out { fill: #e4e9f0 } .paper { fill: #14181f } .dim { fill: #95a2b3 }
  .band { fill: #1b212b } .grid { stroke: #2b333f } .edge { stroke: #aab6c5 }
  .spawn { stroke: #6db3f2 } .critical { stroke: #ffffff }
}
";

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(' '),
            // XML 1.0 has no way to write these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The last part of a path, for labels.
fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

fn clipped(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    format!("{kept}\u{2026}")
}

/// One attempt on the paper.
struct Placed {
    place: Place,
    /// Where the next one of its row begins.
    free: f64,
}

struct Picture<'a> {
    run: &'a Run,
    scale: f64,
    row: f64,
    tall: f64,
    dense: bool,
    colours: Vec<&'static str>,
    placed: Vec<Placed>,
    /// Name and rows of each worker.
    bands: Vec<(String, usize, usize)>,
    rows: usize,
    out: String,
}

/// The picture; `x_scale` is pixels a second.
pub(super) fn svg(run: &Run, x_scale: Option<f64>) -> String {
    let mut picture = Picture::lay_out(run, x_scale);
    picture.draw();
    picture.out
}

/// A colour for each function, those with the most time first, as on the page.
fn colours(run: &Run) -> Vec<&'static str> {
    let order: HashMap<_, _> =
        functions(&[run]).into_iter().enumerate().map(|(place, f)| (f.name, place)).collect();
    let colour = |name| order.get(name).map_or(COLOURS[0], |&place| COLOURS[place % COLOURS.len()]);
    run.functions.iter().map(colour).collect()
}

impl<'a> Picture<'a> {
    fn lay_out(run: &'a Run, x_scale: Option<f64>) -> Self {
        let mut lengths: Vec<_> =
            run.calls.iter().flat_map(|call| &call.attempts).map(|a| a.end - a.start).collect();
        lengths.sort_unstable();
        let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0).max(1) as f64;
        let length = run.length.max(1) as f64;
        let scale = x_scale.map_or_else(
            || (USUAL / median).clamp(NARROWEST / length, WIDEST / length),
            |scale| scale / 1e6,
        );
        let dense = lengths.len() > DENSE;
        let (row, tall) = if dense { (DENSE_ROW, DENSE_BOX) } else { (ROW, BOX) };
        let (mut placed, mut named, mut rows) = (Vec::new(), Vec::new(), 0);
        for band in bands(run) {
            let mut next = vec![f64::INFINITY; band.rows];
            let mut here = Vec::new();
            for &place in band.places.iter().rev() {
                let free = next[place.row];
                next[place.row] = LABELS + place.attempt(run).start as f64 * scale;
                here.push(Placed { place: Place { row: rows + place.row, ..place }, free });
            }
            placed.extend(here.into_iter().rev());
            named.push((band.name, rows, band.rows));
            rows += band.rows;
        }
        let bands = named;
        let colours = colours(run);
        let out = String::new();
        Self { run, scale, row, tall, dense, colours, placed, bands, rows, out }
    }

    fn x(&self, at: i64) -> f64 {
        LABELS + at as f64 * self.scale
    }

    /// The middle of a row.
    fn y(&self, row: usize) -> f64 {
        TOP + row as f64 * self.row + self.row / 2.0
    }

    fn draw(&mut self) {
        let run = self.run;
        let width = (self.x(run.length) + 2.0 * MARGIN + 60.0).max(LABELS + NARROWEST);
        let bottom = TOP + self.rows as f64 * self.row;
        let legend = legend_rows(run, width);
        let height = bottom + MARGIN * 2.0 + 20.0 * legend as f64 + 24.0;
        let _ = write!(
            self.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"34\">{0}</text>\n",
            escaped(run.title())
        );
        let deaths = run.deaths.len();
        let failed = run.calls.iter().filter(|call| call.outcome == Outcome::Failed).count();
        let mut facts = vec![format!("{} calls in {}", run.calls.len(), duration(run.length))];
        facts.extend((failed > 0).then(|| format!("{failed} failed")));
        facts.extend((deaths > 0).then(|| super::model::deaths(deaths)));
        let edges: usize =
            run.calls.iter().map(|call| call.deps.len() + usize::from(call.caller.is_some())).sum();
        let with_edges = edges <= MOST_EDGES && !self.dense;
        if !with_edges && edges > 0 {
            facts.push(format!("{edges} edges, not drawn"));
        }
        let facts = escaped(&facts.join(", "));
        let _ = writeln!(self.out, "<text class=\"dim\" x=\"{MARGIN}\" y=\"56\">{facts}</text>");
        self.grid(width, bottom);
        if with_edges {
            self.edges();
        }
        self.boxes();
        self.critical();
        for death in &run.deaths {
            let Some(band) = death
                .worker
                .and_then(|worker| self.bands.iter().find(|band| band.0 == run.workers[worker].id))
            else {
                continue;
            };
            let (x, from) = (self.x(death.at), TOP + band.1 as f64 * self.row);
            let to = from + band.2 as f64 * self.row;
            let _ = writeln!(
                self.out,
                "<g class=\"death\"><title>{} died: {}</title><line x1=\"{x:.1}\" y1=\"{from:.1}\" \
                 x2=\"{x:.1}\" y2=\"{to:.1}\"/><path d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/></g>",
                escaped(&band.0),
                escaped(&death.how),
                x - 4.0,
                from + 2.0
            );
        }
        self.legend(width, bottom + MARGIN * 1.5, with_edges);
        self.out += "</svg>\n";
    }

    fn grid(&mut self, width: f64, bottom: f64) {
        for (at, (name, first, count)) in self.bands.clone().into_iter().enumerate() {
            let (y, tall) = (TOP + first as f64 * self.row, count as f64 * self.row);
            if at % 2 == 0 {
                let _ = writeln!(
                    self.out,
                    "<rect class=\"band\" x=\"0\" y=\"{y:.1}\" width=\"{width:.0}\" height=\"{tall:.1}\"/>"
                );
            }
            let _ = writeln!(
                self.out,
                "<text x=\"{MARGIN}\" y=\"{:.1}\">{}</text>",
                y + self.row / 2.0 + 4.0,
                escaped(&clipped(&name, 17))
            );
        }
        let step = step(110.0 / self.scale);
        let mut at = 0;
        while at <= self.run.length {
            let x = self.x(at);
            let _ = writeln!(
                self.out,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
                 <text class=\"dim\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                TOP - 6.0,
                TOP - 12.0,
                if at == 0 { "0".to_owned() } else { duration(at) }
            );
            at += step;
        }
    }

    /// Where the attempt that ends, or begins, a call stands.
    fn rows_of(&self) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
        let count = self.run.calls.len();
        let (mut first, mut last) = (vec![None; count], vec![None; count]);
        for placed in &self.placed {
            let Place { call, which, row } = placed.place;
            if which == 0 {
                first[call] = Some(row);
            }
            if which + 1 == self.run.calls[call].attempts.len() {
                last[call] = Some(row);
            }
        }
        (first, last)
    }

    fn edges(&mut self) {
        let (first, last) = self.rows_of();
        for (at, call) in self.run.calls.iter().enumerate() {
            let (Some(row), Some(start)) = (first[at], call.start()) else { continue };
            let to = (self.x(start), self.y(row));
            for &dep in &call.deps {
                let Some(row) = last[dep] else { continue };
                let from = (self.x(self.run.calls[dep].end), self.y(row));
                self.curve("edge", from, to);
            }
            // Where the caller was when it made the call.
            if let Some((caller, row)) =
                call.caller.and_then(|caller| Some((caller, last[caller]?)))
            {
                let made = call.submitted.unwrap_or(start).min(self.run.calls[caller].end);
                let from = (self.x(made), self.y(row) + self.tall / 2.0);
                self.curve("edge spawn", from, to);
            }
        }
    }

    fn curve(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let bend = ((to.0 - from.0) / 2.0).clamp(14.0, 70.0);
        let _ = writeln!(
            self.out,
            "<path class=\"{class}\" d=\"M{:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}\"/>",
            from.0,
            from.1,
            from.0 + bend,
            from.1,
            to.0 - bend,
            to.1,
            to.0,
            to.1
        );
    }

    fn boxes(&mut self) {
        // In a dense picture, boxes of one row that touch within a pixel are one.
        let mut open: Option<(usize, f64, f64, &'static str, bool)> = None;
        for at in 0..self.placed.len() {
            let Placed { place: Place { call, which, row }, free } = self.placed[at];
            let (call, run) = (&self.run.calls[call], self.run);
            let attempt = &call.attempts[which];
            let (from, to) = (self.x(attempt.start), self.x(attempt.end));
            let wide = (to - from).max(1.0);
            let bad = matches!(attempt.outcome, Outcome::Failed | Outcome::Cancelled);
            if self.dense && wide < 3.0 {
                let colour = self.colours[call.func];
                match &mut open {
                    Some((open_row, _, open_to, open_colour, open_bad))
                        if *open_row == row
                            && from - *open_to < 1.0
                            && *open_bad == bad
                            && (*open_colour == colour || from - *open_to < 0.25) =>
                    {
                        *open_to = from + wide;
                    }
                    _ => {
                        let done = open.replace((row, from, from + wide, colour, bad));
                        self.joined(done);
                    }
                }
                continue;
            }
            let done = open.take();
            self.joined(done);
            self.one_box(run, call, which, row, free);
        }
        self.joined(open);
    }

    fn joined(&mut self, boxes: Option<(usize, f64, f64, &'static str, bool)>) {
        let Some((row, from, to, colour, bad)) = boxes else { return };
        let (y, wide) = (self.y(row) - self.tall / 2.0, to - from);
        let class = if bad { " class=\"failed\"" } else { "" };
        let _ = writeln!(
            self.out,
            "<rect{class} x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{}\" fill=\"{colour}\"/>",
            self.tall
        );
    }

    fn one_box(&mut self, run: &Run, call: &Call, which: usize, row: usize, free: f64) {
        let attempt = &call.attempts[which];
        let (from, to) = (self.x(attempt.start), self.x(attempt.end));
        let (wide, y) = ((to - from).max(1.0), self.y(row) - self.tall / 2.0);
        let took = duration(attempt.end - attempt.start);
        let name = match &call.display_name {
            Some(name) => name.as_str(),
            None => short(&run.functions[call.func]),
        };
        let mut about =
            format!("{} ({})\n{}: {took}", run.name(call), call.id, attempt.outcome.name());
        if call.retried() {
            let _ = write!(about, ", attempt {} of {}", which + 1, call.attempts.len());
        }
        if let Some(error) = &attempt.error {
            let _ = write!(about, ", {error}");
        }
        let round = if wide < 8.0 { 0.0 } else { 4.0 };
        let bad = matches!(attempt.outcome, Outcome::Failed | Outcome::Cancelled);
        let _ = write!(
            self.out,
            "<g class=\"call\"><title>{}</title><rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" \
             height=\"{}\" rx=\"{round:.1}\" fill=\"{}\"/>",
            escaped(&about),
            self.tall,
            self.colours[call.func]
        );
        if let Some(done) = attempt.setup_done {
            let _ = write!(
                self.out,
                "<rect class=\"setup\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" \
                 rx=\"{round:.1}\"/>",
                (self.x(done) - from).max(0.0),
                self.tall
            );
        }
        if bad {
            let _ = write!(
                self.out,
                "<rect class=\"failed\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"5\"/>",
                y + self.tall - 5.0
            );
        }
        let label = format!("{name} {took}");
        let letters = |room: f64| (room / 6.6) as usize;
        let middle = self.y(row) + 4.0;
        if letters(wide - 10.0) >= 4 {
            let label = if label.chars().count() > letters(wide - 10.0) { name } else { &label };
            let label = escaped(&clipped(label, letters(wide - 10.0)));
            let _ =
                write!(self.out, "<text x=\"{:.1}\" y=\"{middle:.1}\">{label}</text>", from + 6.0);
        } else if !self.dense && letters(free - to - 10.0) >= label.chars().count() {
            let label = escaped(&label);
            let _ = write!(
                self.out,
                "<text class=\"out\" x=\"{:.1}\" y=\"{middle:.1}\">{label}</text>",
                from + wide + 4.0
            );
        }
        self.out += "</g>\n";
    }

    /// The critical path: a frame around its part of each box, and lines between.
    fn critical(&mut self) {
        let steps = path::critical_path(self.run);
        let mut by_call: Vec<Vec<usize>> = vec![Vec::new(); self.run.calls.len()];
        for (at, placed) in self.placed.iter().enumerate() {
            by_call[placed.place.call].push(at);
        }
        let mut line = String::new();
        let mut last = false;
        for step in &steps {
            let Some(call) = step.call else { continue };
            let places = by_call[call].iter().map(|&at| self.placed[at].place);
            let place = { places }.find(|place| {
                let attempt = place.attempt(self.run);
                attempt.start <= step.from && step.to <= attempt.end
            });
            let Some(place) = place else { continue };
            let y = self.y(place.row) - self.tall / 2.0;
            let (from, to) = (self.x(step.from), self.x(step.to));
            let draws = if last { 'L' } else { 'M' };
            let _ = write!(line, "{draws}{from:.1} {y:.1}");
            last = true;
            let _ = write!(line, "H{to:.1}");
        }
        if !line.is_empty() {
            let _ = writeln!(self.out, "<path class=\"critical\" d=\"{line}\"/>");
        }
    }

    fn legend(&mut self, width: f64, y: f64, with_edges: bool) {
        let mut place = Flow { x: MARGIN, y, width };
        let functions = legend_functions(self.run);
        for func in functions {
            let name = clipped(short(&self.run.functions[func]), 30);
            let (x, y) = place.next(&name);
            let _ = writeln!(
                self.out,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                y - 10.0,
                self.colours[func],
                x + 18.0,
                y,
                escaped(&name)
            );
        }
        let lines: &[(&str, &str)] = match with_edges {
            true => &[
                ("edge", "value"),
                ("edge spawn", "call from a body"),
                ("critical", "critical path"),
            ],
            false => &[("critical", "critical path")],
        };
        for (class, name) in lines {
            let (x, y) = place.next(name);
            let _ = writeln!(
                self.out,
                "<path class=\"{class}\" d=\"M{x:.1} {:.1}h14\"/><text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                y - 4.0,
                x + 18.0,
                y
            );
        }
    }
}

/// Functions that the legend names.
fn legend_functions(run: &Run) -> Vec<usize> {
    let mut used = vec![0_usize; run.functions.len()];
    run.calls.iter().for_each(|call| used[call.func] += 1);
    let mut order: Vec<_> = (0..used.len()).filter(|&func| used[func] > 0).collect();
    order.sort_by_key(|&func| std::cmp::Reverse(used[func]));
    order.truncate(30);
    order
}

fn legend_rows(run: &Run, width: f64) -> usize {
    let mut place = Flow { x: MARGIN, y: 0.0, width };
    for func in legend_functions(run) {
        place.next(&clipped(short(&run.functions[func]), 30));
    }
    ["value", "call from a body", "critical path"].iter().for_each(|name| {
        place.next(name);
    });
    (place.y / 20.0) as usize + 1
}

/// Where the next entry of the legend goes.
struct Flow {
    x: f64,
    y: f64,
    width: f64,
}

impl Flow {
    fn next(&mut self, name: &str) -> (f64, f64) {
        let needs = 40.0 + 7.0 * name.chars().count() as f64;
        if self.x + needs > self.width {
            self.x = MARGIN;
            self.y += 20.0;
        }
        let place = (self.x, self.y);
        self.x += needs;
        place
    }
}

/// A round number of microseconds, at least this.
fn step(least: f64) -> i64 {
    let mut step = 1_i64;
    loop {
        for factor in [1, 2, 5] {
            if (step * factor) as f64 >= least {
                return step * factor;
            }
        }
        match step.checked_mul(10) {
            Some(next) if next < i64::MAX / 10 => step = next,
            _ => return step,
        }
    }
}
