//! The drawing of a run: three panels over one axis of time, as SVG written by hand (it is a few
//! lines and texts, which needs no library).

use std::fmt::Write as _;

use super::report::Report;

const WIDTH: f64 = 760.0;
const PANEL: f64 = 170.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const GAP: f64 = 46.0;
const TOP: f64 = 44.0;

/// Draws who has finished, how rare the rarest piece is, and how well the uplinks are used, over
/// time, with the bound.
pub fn plot(report: &Report) -> String {
    let seconds = report.took.max(report.bound).as_secs_f64();
    let peers = f64::from(report.settings.peers);
    let finished: Vec<(f64, f64)> = (1..)
        .zip(report.finish_times())
        .map(|(count, at)| (at.as_secs_f64(), f64::from(count)))
        .collect();
    let rarest: Vec<(f64, f64)> = report
        .samples
        .iter()
        .map(|sample| (sample.at.as_secs_f64(), f64::from(sample.rarest_copies)))
        .collect();
    let up: f64 = report.peers.iter().map(|peer| peer.up_bytes_per_s as f64).sum();
    let used: Vec<(f64, f64)> = report
        .samples
        .windows(2)
        .map(|pair| {
            let (before, after) = (pair[0], pair[1]);
            let rate = (after.sent_bytes - before.sent_bytes) as f64
                / (after.at - before.at).as_secs_f64();
            (after.at.as_secs_f64(), rate / up * 100.0)
        })
        .collect();
    let most_copies = rarest.iter().fold(1.0, |most: f64, point| most.max(point.1));
    let mut svg = Svg::new(seconds, report.bound.as_secs_f64());
    svg.title(&format!(
        "{} leechers, {} seeds, {} MiB, {} KiB/s up: last at {:.3} of the bound",
        report.settings.peers,
        report.settings.seeds,
        report.settings.size >> 20,
        report.settings.up_bytes_per_s >> 10,
        report.last_of_bound(),
    ));
    svg.panel("leechers finished", peers, &finished);
    svg.panel("copies of the rarest piece", most_copies, &rarest);
    svg.panel("uplinks in use, %", 100.0, &used);
    svg.finish()
}

struct Svg {
    body: String,
    seconds: f64,
    bound: f64,
    y: f64,
}

impl Svg {
    fn new(seconds: f64, bound: f64) -> Self {
        Svg { body: String::new(), seconds, bound, y: TOP }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(
            self.body,
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#333">{text}</text>"##
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" {style}/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    fn title(&mut self, text: &str) {
        self.text(LEFT, 22.0, "start", text);
    }

    fn panel(&mut self, name: &str, most: f64, points: &[(f64, f64)]) {
        let (top, bottom) = (self.y, self.y + PANEL);
        let axis = r##"stroke="#999""##;
        self.line((LEFT, top), (LEFT, bottom), axis);
        self.line((LEFT, bottom), (WIDTH - RIGHT, bottom), axis);
        self.text(LEFT + 6.0, top + 4.0, "start", name);
        self.text(LEFT - 6.0, top + 4.0, "end", &format!("{most:.0}"));
        self.text(LEFT - 6.0, bottom, "end", "0");
        let bound = self.x(self.bound);
        self.line((bound, top), (bound, bottom), r##"stroke="#c33" stroke-dasharray="4 3""##);
        for part in 0..=4 {
            let at = self.seconds * f64::from(part) / 4.0;
            self.text(self.x(at), bottom + 16.0, "middle", &format!("{at:.0} s"));
        }
        let path: Vec<String> = points
            .iter()
            .map(|(at, value)| {
                format!("{:.1},{:.1}", self.x(*at), bottom - value.min(most) / most * PANEL)
            })
            .collect();
        let _ = writeln!(
            self.body,
            r##"<polyline points="{}" fill="none" stroke="#26c" stroke-width="1.5"/>"##,
            path.join(" ")
        );
        self.y = bottom + GAP;
    }

    fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.y, self.body
        )
    }
}
