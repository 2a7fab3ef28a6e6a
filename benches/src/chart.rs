//! Charts as SVG, by hand: lines on two logarithmic axes, and bars.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#4c956c", "#8e5ea2", "#b8860b", "#555555"];

/// A line: its name and its points, all above zero.
pub type Line = (String, Vec<(f64, f64)>);

/// Lines on logarithmic axes with decades marked. Equal growth is a straight line; a flat one is
/// no growth.
pub fn log_log(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let decades = |values: &dyn Fn() -> Vec<f64>| {
        let logs = values().into_iter().map(f64::log10);
        let (low, high) = logs.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        (low.floor(), high.ceil().max(low.floor() + 1.0))
    };
    let (x0, x1) = decades(&|| points().map(|point| point.0).collect());
    let (y0, y1) = decades(&|| points().map(|point| point.1).collect());
    let x = |v: f64| LEFT + (v.log10() - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - (v.log10() - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = begin(title, HEIGHT);
    for decade in x0 as i32..=x1 as i32 {
        let at = x(10_f64.powi(decade));
        rule(&mut svg, (at, TOP), (at, HEIGHT - BOTTOM));
        text(&mut svg, (at, HEIGHT - BOTTOM + 16.0), "middle", &power(decade));
    }
    for decade in y0 as i32..=y1 as i32 {
        let at = y(10_f64.powi(decade));
        rule(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, (LEFT - 6.0, at + 4.0), "end", &power(decade));
    }
    text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0), "middle", x_name);
    text(&mut svg, (LEFT, TOP - 8.0), "middle", y_name);
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.join(" ")
        );
        if let Some(last) = points.last() {
            text(&mut svg, (x(last.0) + 6.0, y(last.1) + 4.0), "start", name);
        }
    }
    svg + "</svg>\n"
}

/// A bar for each value, with the value beside it.
pub fn bars(title: &str, unit: &str, values: &[(String, f64)]) -> String {
    let row = 26.0;
    let height = TOP + row * values.len() as f64 + 20.0;
    let left = 2.0 * LEFT;
    let most = values.iter().map(|value| value.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = begin(title, height);
    for (index, (name, value)) in values.iter().enumerate() {
        let top = TOP + row * index as f64;
        let width = value / most * (WIDTH - left - RIGHT);
        text(&mut svg, (left - 6.0, top + 15.0), "end", name);
        let _ = writeln!(
            svg,
            r#"<rect x="{left}" y="{top:.0}" width="{width:.1}" height="18" fill="{}"/>"#,
            COLOURS[0]
        );
        text(&mut svg, (left + width + 6.0, top + 15.0), "start", &format!("{value:.2} {unit}"));
    }
    svg + "</svg>\n"
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n"
    );
    text(&mut svg, (WIDTH / 2.0, 18.0), "middle", title);
    svg
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r##"<path d="M{:.1} {:.1}L{:.1} {:.1}" stroke="#dddddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">{words}</text>"#,
        at.0, at.1
    );
}

fn power(decade: i32) -> String {
    match decade {
        0..=3 => format!("{}", 10_u32.pow(decade as u32)),
        _ => format!("1e{decade}"),
    }
}
