//! What any page must keep to.

use super::{Bar, BarChart, Emphasis, Line, LineChart, Point, Unit, escape, page, table};

fn chart(figures: &[Option<f64>], logarithmic: bool) -> String {
    let points: Vec<_> = (0..figures.len())
        .map(|place| Point { from: place as f64, to: place as f64 + 1.0, figures: vec![figures[place]] })
        .collect();
    let lines = [Line { name: "a<b" }];
    LineChart { title: "T&U", subtitle: "s", unit: Unit::Number, logarithmic, lines: &lines, points: &points }
        .render()
}

#[test]
fn text_cannot_break_out_of_a_page() {
    assert_eq!(escape("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    assert!(page("<script>", "").contains("<h1>&lt;script&gt;</h1>"));
    let html = table(&["<b>"], vec![vec!["<i>".to_owned().into()]]);
    assert!(html.contains("&lt;b&gt;") && html.contains("&lt;i&gt;"), "{html}");
    assert!(chart(&[Some(1.0)], false).contains("T&amp;U"));
    assert!(chart(&[Some(1.0)], false).contains("a&lt;b: 1"));
}

#[test]
fn a_gap_in_the_figures_is_a_gap_in_the_line() {
    let whole = chart(&[Some(1.0), Some(2.0), Some(3.0)], false);
    let broken = chart(&[Some(1.0), None, Some(3.0)], false);
    assert_eq!(whole.matches("<polyline").count(), 1);
    assert_eq!(broken.matches("<polyline").count(), 2);
    assert!(broken.contains("a&lt;b: none"), "{broken}");
}

#[test]
fn nothing_to_show_is_no_chart() {
    assert_eq!(chart(&[], false), "");
    assert_eq!(chart(&[None, None], true), "");
}

#[test]
fn whatever_the_figures_a_chart_has_only_finite_places() {
    for figures in [[0.0, 0.0], [1e-9, 1e12], [5.0, 5.0]] {
        for logarithmic in [false, true] {
            let html = chart(&figures.map(Some), logarithmic);
            assert!(html.contains("<polyline") && !html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}

#[test]
fn the_longest_bar_has_the_whole_width_and_the_others_their_share() {
    let bar =
        |name: &str, figure, emphasis| Bar { name: name.to_owned(), figure, note: String::new(), emphasis };
    let bars = [
        bar("x", Some(50.0), Emphasis::Own),
        bar("y", Some(100.0), Emphasis::Best),
        bar("z", None, Emphasis::None),
    ];
    let html = BarChart { title: "t", subtitle: "", unit: Unit::Number, bars: &bars }.render();
    assert!(html.contains("class=\"bar own\" x=\"150\" y=\"6\" width=\"197.0\""), "{html}");
    assert!(html.contains("class=\"bar best\" x=\"150\" y=\"30\" width=\"394.0\""), "{html}");
    assert!(html.contains("class=\"bar \" x=\"150\" y=\"54\" width=\"0.0\""), "{html}");
}
