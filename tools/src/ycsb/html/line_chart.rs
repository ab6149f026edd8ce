//! Figures over time as lines.

use super::scale::{Axis, Unit};
use super::{append, escape};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// Beyond so many points none can be pointed at by itself.
const MAX_BANDS: usize = 1200;

/// A stretch of time and the lines' figures in it, `None` where there is none.
pub struct Point {
    /// Its beginning, in seconds.
    pub from: f64,
    /// Its end, in seconds.
    pub to: f64,
    /// One figure a line.
    pub figures: Vec<Option<f64>>,
}

/// What a line is called.
pub struct Line {
    /// Its name in the legend.
    pub name: &'static str,
}

/// Up to four lines over one axis of time.
pub struct LineChart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What it shows, further.
    pub subtitle: &'a str,
    /// What its figures count.
    pub unit: Unit,
    /// Whether figures lie powers of ten apart.
    pub logarithmic: bool,
    /// The lines.
    pub lines: &'a [Line],
    /// Their figures, in the order of time.
    pub points: &'a [Point],
}

impl LineChart<'_> {
    /// The chart as an HTML figure; nothing when there is no figure to show.
    #[must_use]
    pub fn render(&self) -> String {
        let Some((lowest, highest)) = self.extremes() else { return String::new() };
        let end = self.points.last().map_or(1.0, |point| point.to);
        let vertical = if self.logarithmic {
            Axis::logarithmic(lowest, highest)
        } else {
            Axis::linear(highest, self.unit)
        };
        let plot = Plot { horizontal: Axis::exact(end, Unit::Seconds), vertical };
        let mut html = format!(
            "<figure><figcaption>{} <span class=\"quiet\">{}</span></figcaption>\n",
            escape(self.title),
            escape(self.subtitle)
        );
        self.legend(&mut html);
        append(
            &mut html,
            format_args!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
                escape(self.title)
            ),
        );
        plot.grid(&mut html, self.unit);
        self.bands(&mut html, &plot);
        for line in 0..self.lines.len() {
            self.line(&mut html, &plot, line);
        }
        html + "</svg></figure>\n"
    }

    fn figures(&self) -> impl Iterator<Item = f64> {
        self.points.iter().flat_map(|point| point.figures.iter().copied().flatten())
    }

    /// The lowest figure above 0, which a logarithmic axis wants, and the highest.
    fn extremes(&self) -> Option<(f64, f64)> {
        let highest = self.figures().max_by(f64::total_cmp)?;
        let lowest = self.figures().filter(|figure| *figure > 0.0).min_by(f64::total_cmp);
        Some((lowest.unwrap_or(1.0), highest))
    }

    fn legend(&self, html: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        html.push_str("<div class=\"legend\">");
        for (place, line) in self.lines.iter().enumerate() {
            append(html, format_args!("<i class=\"key-{place}\"></i>{}", escape(line.name)));
        }
        html.push_str("</div>\n");
    }

    fn line(&self, html: &mut String, plot: &Plot, line: usize) {
        let places = self.points.iter().map(|point| {
            point.figures[line].map(|figure| (plot.x(f64::midpoint(point.from, point.to)), plot.y(figure)))
        });
        let places: Vec<_> = places.collect();
        for stretch in places.split(Option::is_none).filter(|stretch| !stretch.is_empty()) {
            append(html, format_args!("<polyline class=\"line line-{line}\" points=\""));
            for (x, y) in stretch.iter().flatten() {
                append(html, format_args!("{x:.1},{y:.1} "));
            }
            if let [Some((x, y))] = stretch {
                append(html, format_args!("{:.1},{y:.1}", x + 1.0));
            }
            html.push_str("\"/>\n");
        }
    }

    /// One transparent band a point, which tells the point's figures to whoever points at it.
    fn bands(&self, html: &mut String, plot: &Plot) {
        for point in self.points.iter().take(MAX_BANDS) {
            let (from, to) = (plot.x(point.from), plot.x(point.to));
            append(
                html,
                format_args!(
                    "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{} to {}",
                    to - from,
                    HEIGHT - TOP - BOTTOM,
                    Unit::Seconds.write(point.from),
                    Unit::Seconds.write(point.to),
                ),
            );
            for (line, figure) in self.lines.iter().zip(&point.figures) {
                let figure = figure.map_or_else(|| "none".to_owned(), |figure| self.unit.write(figure));
                append(html, format_args!("\n{}: {figure}", escape(line.name)));
            }
            html.push_str("</title></rect>\n");
        }
    }
}

struct Plot {
    horizontal: Axis,
    vertical: Axis,
}

impl Plot {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + self.horizontal.place(seconds) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, figure: f64) -> f64 {
        HEIGHT - BOTTOM - self.vertical.place(figure) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, html: &mut String, unit: Unit) {
        for mark in &self.vertical.marks {
            let y = self.y(*mark);
            append(
                html,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0,
                    unit.write(*mark)
                ),
            );
        }
        for mark in &self.horizontal.marks {
            append(
                html,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                    self.x(*mark),
                    HEIGHT - 6.0,
                    Unit::Seconds.write(*mark)
                ),
            );
        }
    }
}
