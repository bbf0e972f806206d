//! `--plot`: the figures as a picture, in SVG. Bars compare systems, lines show what changes along
//! an axis.

use std::fmt::Write;

use super::figures::Figures;
use super::raw::Series;
use super::section::{Axis, Bars, Panel};
use super::table::plain;
use crate::stats::Summary;
use crate::words::number;

/// Of a panel with its title and labels, and of the area of its lines.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
const COLUMNS: usize = 2;
const HEADER: f64 = 64.0;
/// Of an axis, each of which has room for its mark.
const FEW_PLACES: usize = 6;

/// Told apart by everybody, also in print (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// A colour for each name, the same in all panels.
#[derive(Default)]
struct Palette(Vec<String>);

impl Palette {
    fn of(&mut self, name: &str) -> &'static str {
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        COLOURS[at % COLOURS.len()]
    }
}

/// The whole picture, or `None` if nothing can be drawn.
pub(super) fn svg(title: &str, subtitle: &str, figures: &Figures) -> Option<String> {
    let mut panels: Vec<Drawing> = Vec::new();
    let mut palette = Palette::default();
    for (section, raw) in &figures.sections {
        for bars in section.bars {
            let value = |key| {
                let figure = section.figures.iter().find(|figure| figure.key == key)?;
                Some(figures.summary(section, figure)?.median)
            };
            let all = bars.bars.iter().filter_map(|&(label, key)| Some((label, value(key)?)));
            let all: Vec<_> = all.filter(|(_, value)| *value > 0.0).collect();
            if !all.is_empty() {
                panels.push(draw_bars(bars, &all, &mut palette));
            }
        }
        for panel in section.panels {
            let lines: Vec<_> = raw.series.iter().filter(|s| s.panel == panel.name).collect();
            panels.extend(draw_lines(panel, &lines, &mut palette));
        }
    }
    if panels.is_empty() {
        return None;
    }
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (COLUMNS as f64 * WIDTH, HEADER + rows as f64 * HEIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"18\" font-weight=\"bold\">{}</text>\n\
         <text x=\"16\" y=\"48\" fill=\"#555\">{}</text>\n",
        escaped(title),
        escaped(subtitle)
    );
    for (at, panel) in panels.iter().enumerate() {
        let x = (at % COLUMNS) as f64 * WIDTH;
        let y = HEADER + (at / COLUMNS) as f64 * HEIGHT;
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">\n{}</g>", panel.0);
    }
    out += "</svg>\n";
    Some(out)
}

/// Elements of one panel, around its own origin.
struct Drawing(String);

impl Drawing {
    fn titled(title: &str) -> Self {
        let mut drawing = Self(String::new());
        drawing.text(16.0, 24.0, "start", "font-size=\"14\" font-weight=\"bold\"", title);
        drawing
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        ));
    }
}

/// From values to a stretch of the picture.
#[derive(Clone, Copy)]
struct Scale {
    log: bool,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Around all of `values`, with round ends.
    fn around(log: bool, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        let (least, most) = if log {
            let (low, high) = (least.max(1e-12), most.max(1e-12));
            (low, if high > low { high } else { 10.0 * low })
        } else {
            (0.0, if most > 0.0 { most } else { 1.0 })
        };
        Self { log, least, most, from, to }
    }

    /// Room for the ends of lines.
    fn padded(mut self) -> Self {
        if self.log {
            self.least /= 1.15;
            self.most *= 1.15;
        } else {
            self.most *= 1.08;
        }
        self
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(1e-12) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.from + share * (self.to - self.from)
    }

    /// Values with a mark at the axis: powers of ten, with 2 and 5 between them where there are few,
    /// or multiples of a round step.
    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            let rough = (self.most - self.least) / 5.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|s| *s >= rough);
            let step = step.unwrap_or(10.0 * power);
            return (0..).map(|n| f64::from(n) * step).take_while(|v| *v <= self.most).collect();
        }
        let first = self.least.log10().floor() as i32;
        let last = self.most.log10().ceil() as i32;
        let within = |steps: &[f64]| -> Vec<f64> {
            let powers = first..=last;
            let all = powers.flat_map(|power| steps.iter().map(move |n| n * 10f64.powi(power)));
            // A sum of rounding errors is not to lose the ends.
            let (least, most) = (self.least / 1.0001, self.most * 1.0001);
            all.filter(|v| (least..=most).contains(v)).collect()
        };
        let powers = within(&[1.0]);
        if powers.len() >= 3 { powers } else { within(&[1.0, 2.0, 5.0]) }
    }
}

fn draw_lines(panel: &Panel, lines: &[&Series], palette: &mut Palette) -> Option<Drawing> {
    let lines: Vec<(&str, Vec<(f64, Summary)>)> = lines
        .iter()
        .map(|line| {
            let points = line.points.iter().filter_map(|(x, ys)| Some((*x, Summary::of(ys)?)));
            let mut points: Vec<_> = points.collect();
            points.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
            (line.name.as_str(), points)
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let points = lines.iter().flat_map(|(_, points)| points);
    points.clone().next()?;
    let Axis { log, .. } = panel.x;
    let mut places: Vec<f64> = points.clone().map(|(x, _)| *x).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    let x = Scale::around(log, points.clone().map(|(x, _)| *x), LEFT, WIDTH - RIGHT).padded();
    let ys = points.flat_map(|(_, y)| [y.median, y.p1, y.p99]);
    let y = Scale::around(panel.y.log, ys, HEIGHT - BOTTOM, TOP + 30.0).padded();
    let mut out = Drawing::titled(panel.title);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    // A few places are all marked, whether they are round or not.
    let marks = if places.len() <= FEW_PLACES { places } else { x.ticks() };
    for tick in marks {
        out.line((x.at(tick), bottom), (x.at(tick), bottom + 4.0), "#333");
        out.text(x.at(tick), bottom + 17.0, "middle", "", &plain(tick));
    }
    for tick in y.ticks() {
        out.line((LEFT, y.at(tick)), (right, y.at(tick)), "#e5e5e5");
        out.text(LEFT - 6.0, y.at(tick) + 4.0, "end", "", &plain(tick));
    }
    out.line((LEFT, bottom), (right, bottom), "#333");
    out.text(f64::midpoint(LEFT, right), bottom + 36.0, "middle", "fill=\"#555\"", panel.x.label);
    let turned = format!("fill=\"#555\" transform=\"rotate(-90 16 {:.0})\"", HEIGHT / 2.0);
    out.text(16.0, HEIGHT / 2.0, "middle", &turned, panel.y.label);
    let mut legend = (LEFT, 43.0);
    for (name, points) in &lines {
        let colour = palette.of(name);
        let path: Vec<_> = points
            .iter()
            .map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(py.median)))
            .collect();
        let path = path.join(" ");
        out.add(format_args!(
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
        for (px, py) in points {
            let (px, top, middle) = (x.at(*px), y.at(py.p99), y.at(py.median));
            out.line((px, top), (px, y.at(py.p1)), colour);
            out.add(format_args!(
                "<circle cx=\"{px:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"{colour}\"/>"
            ));
        }
        // The width of a letter is not known here; this is wide enough for most.
        let width = 26.0 + 6.2 * name.chars().count() as f64;
        if legend.0 + width > right {
            legend = (LEFT, legend.1 + 14.0);
        }
        let (x, y) = (legend.0, legend.1 - 9.0);
        out.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        ));
        out.text(x + 14.0, legend.1, "start", "font-size=\"11\"", name);
        legend.0 += width;
    }
    Some(out)
}

fn draw_bars(bars: &Bars, all: &[(&str, f64)], palette: &mut Palette) -> Drawing {
    /// Room for the names.
    const NAMES: f64 = 150.0;
    let (top, bottom, right) = (TOP, HEIGHT - BOTTOM, WIDTH - RIGHT - 60.0);
    let mut scale = Scale::around(true, all.iter().map(|(_, value)| *value), NAMES, right);
    // A bar begins where nothing is seen yet, at a power of ten.
    scale.least = 10f64.powf((scale.least / 1.5).log10().floor());
    let mut out = Drawing::titled(bars.title);
    for tick in scale.ticks() {
        out.line((scale.at(tick), top), (scale.at(tick), bottom), "#e5e5e5");
        out.text(scale.at(tick), bottom + 17.0, "middle", "", &plain(tick));
    }
    let middle = f64::midpoint(NAMES, right);
    out.text(middle, bottom + 36.0, "middle", "fill=\"#555\"", bars.unit);
    let step = (bottom - top) / all.len() as f64;
    for (nth, (name, value)) in all.iter().enumerate() {
        let (y, height) = (top + (nth as f64 + 0.15) * step, 0.7 * step);
        let width = scale.at(*value) - NAMES;
        let colour = palette.of(name);
        out.add(format_args!(
            "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        ));
        let base = y + height / 2.0 + 4.0;
        out.text(NAMES - 8.0, base, "end", "", name);
        out.text(NAMES + width + 6.0, base, "start", "", &number(*value));
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    #[test]
    fn the_picture_has_every_line_and_bar() {
        let figures = figures(&[100.0; 3], &[230.0; 3]);
        let svg = svg("A < B", "quiet", &figures).expect("something to draw");
        for part in ["A &lt; B", "Time a task", ">chain<", ">independent<", ">230<", "</svg>"] {
            assert!(svg.contains(part), "{part} is not in\n{svg}");
        }
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(super::svg("", "", &Figures::default()), None);
    }

    #[test]
    fn a_few_places_are_all_marked() {
        let axis = Axis::log("workers");
        let panel = Panel { name: "p", title: "P", x: axis, y: axis };
        let points = [1.0, 2.0, 4.0].map(|x| (x, vec![10.0])).to_vec();
        let line = Series { panel: "p".to_owned(), name: "n".to_owned(), points };
        let Drawing(svg) = draw_lines(&panel, &[&line], &mut Palette::default()).expect("a line");
        assert!([">1<", ">2<", ">4<"].iter().all(|mark| svg.contains(mark)), "{svg}");
    }

    #[test]
    fn ticks_are_round_and_within() {
        let scale = |log, values: &[f64]| Scale::around(log, values.iter().copied(), 0.0, 100.0);
        assert_eq!(scale(true, &[1e3, 1e6]).ticks(), [1e3, 1e4, 1e5, 1e6]);
        assert_eq!(scale(true, &[1.0, 4.0]).ticks(), [1.0, 2.0]);
        assert_eq!(scale(false, &[3.0, 90.0]).ticks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(scale(false, &[50.0]).at(25.0), 50.0);
        assert_eq!(scale(true, &[1.0, 100.0]).at(10.0).round(), 50.0);
        // One place, or none above zero, is a scale as well.
        assert!(scale(true, &[5.0]).at(5.0).is_finite() && scale(false, &[0.0]).at(0.0) == 0.0);
    }
}
