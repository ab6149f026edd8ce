//! One figure for each of several things, as bars with the figures beside them.

use super::scale::Unit;
use super::{append, escape};

const WIDTH: f64 = 640.0;
const NAME_WIDTH: f64 = 150.0;
const FIGURE_WIDTH: f64 = 96.0;
const ROW_HEIGHT: f64 = 24.0;
const BAR_HEIGHT: f64 = 15.0;

/// How a bar or a cell stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emphasis {
    /// It does not.
    None,
    /// It is what the page is about.
    Own,
    /// It is the best of the others.
    Best,
}

impl Emphasis {
    /// The class that the style sheet knows it by.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Own => "own",
            Self::Best => "best",
        }
    }
}

/// One bar.
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// How long it is; `None` leaves the row empty but for `note`.
    pub figure: Option<f64>,
    /// What is written behind the figure.
    pub note: String,
    /// How it stands out.
    pub emphasis: Emphasis,
}

/// Bars under each other, drawn from 0 so that lengths can be compared.
pub struct BarChart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What it shows, further.
    pub subtitle: &'a str,
    /// What its figures count.
    pub unit: Unit,
    /// The bars, from top to bottom.
    pub bars: &'a [Bar],
}

impl BarChart<'_> {
    /// The chart as an HTML figure.
    #[must_use]
    pub fn render(&self) -> String {
        let longest = self.bars.iter().filter_map(|bar| bar.figure).fold(0.0, f64::max);
        let mut html = format!(
            "<figure><figcaption>{} <span class=\"quiet\">{}</span></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            escape(self.subtitle),
            ROW_HEIGHT * self.bars.len() as f64 + 4.0,
            escape(self.title)
        );
        for (row, bar) in self.bars.iter().enumerate() {
            self.bar(&mut html, bar, 2.0 + ROW_HEIGHT * row as f64, longest);
        }
        html + "</svg></figure>\n"
    }

    fn bar(&self, html: &mut String, bar: &Bar, top: f64, longest: f64) {
        let share = bar.figure.map_or(0.0, |figure| if longest > 0.0 { figure / longest } else { 0.0 });
        let length = share * (WIDTH - NAME_WIDTH - FIGURE_WIDTH);
        let strong = if bar.emphasis == Emphasis::Own { "strong" } else { "" };
        let figure = bar.figure.map_or_else(String::new, |figure| self.unit.write(figure));
        append(
            html,
            format_args!(
                "<text class=\"{strong}\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar {}\" x=\"{NAME_WIDTH}\" y=\"{}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>\
             <text class=\"{strong}\" x=\"{:.1}\" y=\"{}\">{} {}</text>\n",
                NAME_WIDTH - 8.0,
                top + 16.0,
                escape(&bar.name),
                bar.emphasis.class(),
                top + 4.0,
                NAME_WIDTH + length + 6.0,
                top + 16.0,
                escape(&figure),
                escape(&bar.note),
            ),
        );
    }
}
