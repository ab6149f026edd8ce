//! Pages for a browser: one file each, charts as inline SVG, nothing loaded from anywhere, readable on light and dark.
//!
//! Charts carry their figures: whoever points at one is told what it shows there.

mod bar_chart;
mod line_chart;
mod scale;

use std::fmt::Write;

pub use bar_chart::{Bar, BarChart, Emphasis};
pub use line_chart::{Line, LineChart, Point};
pub use scale::{Axis, Unit};

const STYLE: &str = include_str!("style.css");

/// A whole page around `body`, which is HTML.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// Text as HTML shows it, in elements and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Figures in large type, each with what it is.
#[must_use]
pub fn tiles(figures: &[(String, String)]) -> String {
    let mut html = "<div class=\"tiles\">".to_owned();
    for (figure, what) in figures {
        append(
            &mut html,
            format_args!("<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(figure), escape(what)),
        );
    }
    html + "</div>\n"
}

/// A cell of a table.
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it stands out.
    pub emphasis: Emphasis,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, emphasis: Emphasis::None }
    }
}

/// A table; the first cell of each row is its name.
#[must_use]
pub fn table(head: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut html = "<div class=\"scroll\"><table>\n<tr>".to_owned();
    head.iter().for_each(|name| append(&mut html, format_args!("<th>{}</th>", escape(name))));
    html.push_str("</tr>\n");
    for row in rows {
        html.push_str("<tr>");
        for Cell { text, emphasis } in row {
            append(&mut html, format_args!("<td class=\"{}\">{}</td>", emphasis.class(), escape(&text)));
        }
        html.push_str("</tr>\n");
    }
    html + "</table></div>\n"
}

/// Charts side by side, as many as fit.
#[must_use]
pub fn charts(figures: impl IntoIterator<Item = String>) -> String {
    format!("<div class=\"charts\">\n{}</div>\n", figures.into_iter().collect::<String>())
}

/// Appends to a string, which cannot fail.
fn append(html: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = html.write_fmt(text);
}

#[cfg(test)]
mod tests;
