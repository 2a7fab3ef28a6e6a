//! How progress lines are laid out: a pure function of facts and width.
//!
//! The lines of one screen are the rows of a table, so that its columns stand below each other:
//! name, bar, percent, bytes, rates, peers, time left, and what else there is to say. What has no
//! room is left out, the least important first; what room is left over goes to the bar, the note
//! and the name, and a name or a note that is cut still ends in a mark.

use super::facts::{Facts, Tone};
use super::width::{columns, cut, isolated, padding};
use crate::units::{Rate, Size, Span};

/// A column of a name that is cut has at least this (chosen), but for a very narrow terminal.
const NAME_LEAST: usize = 10;
/// Below this width there is no bar (chosen).
const BAR_FROM: usize = 50;
/// Columns of the shortest bar (chosen); with room to spare it has a fifth of what is beyond.
const BAR_LEAST: usize = 6;
/// A note that is cut has at least this (chosen: `[rate limit]`).
const NOTE_LEAST: usize = 12;
/// Rates keep their place while they change (chosen: `↓99.9 MiB/s`).
const RATE_USUAL: usize = 11;

/// What a part of a line is painted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    None,
    Green,
    Yellow,
    Red,
    Faint,
}

/// A line, in parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Line(Vec<(Paint, String)>);

impl Line {
    /// One part without colour, cut to the width.
    pub(crate) fn text(text: &str, width: usize) -> Self {
        Line(vec![(Paint::None, cut(text, width).into_owned())])
    }

    /// Columns that it takes.
    pub(crate) fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| columns(text)).sum()
    }

    /// As it is written.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (paint, text) in &self.0 {
            match paint.code().filter(|_| colour && !text.is_empty()) {
                Some(code) => out.extend(["\x1b[", code, "m", text, "\x1b[0m"]),
                None => out.push_str(text),
            }
        }
        out
    }

    fn push(&mut self, paint: Paint, text: impl Into<String>) {
        self.0.push((paint, text.into()));
    }

    /// Without the spaces at its end, which only fill a column.
    fn trimmed(mut self) -> Self {
        while let Some((_, last)) = self.0.last_mut() {
            last.truncate(last.trim_end_matches(' ').len());
            if !last.is_empty() {
                break;
            }
            self.0.pop();
        }
        self
    }
}

impl Paint {
    /// The parameter of "select graphic rendition" (ECMA-48).
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::None => None,
            Paint::Green => Some("32"),
            Paint::Yellow => Some("33"),
            Paint::Red => Some("31"),
            Paint::Faint => Some("2"),
        }
    }

    fn of(tone: Tone) -> Self {
        match tone {
            Tone::Plain => Paint::None,
            Tone::Slow => Paint::Yellow,
            Tone::Bad => Paint::Red,
        }
    }
}

/// The columns between the bar and the note, from left to right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Percent,
    Bytes,
    Down,
    Up,
    Peers,
    Eta,
}

impl Column {
    const ALL: [Column; 6] =
        [Column::Percent, Column::Bytes, Column::Down, Column::Up, Column::Peers, Column::Eta];

    /// The same, the most important first.
    const BY_IMPORTANCE: [Column; 6] =
        [Column::Percent, Column::Down, Column::Bytes, Column::Eta, Column::Peers, Column::Up];

    /// What stands there; empty if there is nothing to say.
    fn text(self, facts: &Facts) -> String {
        match self {
            Column::Percent => percent(facts),
            Column::Bytes => bytes(facts),
            Column::Down => facts.down.map(|rate| format!("↓{}", Rate(rate))).unwrap_or_default(),
            Column::Up => facts.up.map(|rate| format!("↑{}", Rate(rate))).unwrap_or_default(),
            Column::Peers => match facts.peers {
                Some(1) => "1 peer".to_owned(),
                Some(count) => format!("{count} peers"),
                None => String::new(),
            },
            Column::Eta => facts.eta.map(|eta| format!("ETA {}", Span(eta))).unwrap_or_default(),
        }
    }

    /// Columns kept for it if it is there at all.
    fn usual(self) -> usize {
        match self {
            Column::Down | Column::Up => RATE_USUAL,
            Column::Percent | Column::Bytes | Column::Peers | Column::Eta => 0,
        }
    }
}

/// One line a task, each at most `width` columns wide.
pub(crate) fn table(rows: &[(&str, &Facts)], width: usize) -> Vec<Line> {
    let plan = Plan::of(rows, width);
    rows.iter().map(|(name, facts)| plan.line(name, facts)).collect()
}

/// The same of one task where there are no columns to keep: everything there is to say.
pub(crate) fn sentence(name: &str, facts: &Facts) -> Line {
    let mut line = Line::default();
    line.push(Paint::None, format!("{name}:"));
    for column in Column::ALL {
        let text = column.text(facts);
        if !text.is_empty() {
            line.push(Paint::None, format!(" {}", text.trim_start()));
        }
    }
    if !facts.note.is_empty() {
        line.push(Paint::None, " ");
        line.push(Paint::of(facts.tone), facts.note.clone());
    }
    line
}

/// How wide each column is.
#[derive(Debug)]
struct Plan {
    name: usize,
    bar: usize,
    /// Those that are shown, from left to right.
    cells: Vec<(Column, usize)>,
    note: usize,
}

impl Plan {
    fn of(rows: &[(&str, &Facts)], width: usize) -> Self {
        let widest = |of: &dyn Fn(&str, &Facts) -> usize| {
            rows.iter().map(|(name, facts)| of(name, facts)).max().unwrap_or(0)
        };
        let name_wish = widest(&|name, _| columns(name));
        let note_wish = widest(&|_, facts| columns(&facts.note));
        let mut room = width;
        // Takes columns and the space before them, if they are there.
        let take = |room: &mut usize, wanted: usize| {
            let whole = wanted + usize::from(wanted > 0);
            let fits = whole <= *room;
            *room -= if fits { whole } else { 0 };
            fits
        };
        // The name has no space before it, but always one behind it.
        let mut plan = Plan { name: 0, bar: 0, cells: Vec::new(), note: 0 };
        let name_least = name_wish.min(NAME_LEAST).min(width / 2);
        if take(&mut room, name_least) {
            plan.name = name_least;
        }
        let mut shown = Vec::new();
        for column in Column::BY_IMPORTANCE {
            let widest = widest(&|_, facts| columns(&column.text(facts)));
            let wanted = if widest > 0 { widest.max(column.usual()) } else { 0 };
            if wanted > 0 && take(&mut room, wanted) {
                shown.push((column, wanted));
            }
            // After the percentage comes what keeps it waiting, then the bar.
            if column == Column::Percent {
                let least = note_wish.min(NOTE_LEAST);
                plan.note = if take(&mut room, least) { least } else { 0 };
                let has_bar = width >= BAR_FROM && rows.iter().any(|(_, it)| it.total.is_some());
                let least = if has_bar { BAR_LEAST } else { 0 };
                plan.bar = if take(&mut room, least) { least } else { 0 };
            }
            // A name that can be told from others counts more than what is left.
            if column == Column::Eta && plan.name > 0 {
                let more = name_wish.min(2 * NAME_LEAST).saturating_sub(plan.name).min(room);
                plan.name += more;
                room -= more;
            }
        }
        for column in Column::ALL {
            plan.cells.extend(shown.iter().filter(|(shown, _)| *shown == column));
        }
        // The space before the name that is not there.
        room += usize::from(plan.name > 0);
        let mut grow = |size: &mut usize, to: usize| {
            if *size > 0 {
                let more = to.saturating_sub(*size).min(room);
                *size += more;
                room -= more;
            }
        };
        grow(&mut plan.name, name_wish.min(2 * NAME_LEAST));
        grow(&mut plan.note, note_wish);
        grow(&mut plan.name, name_wish);
        grow(&mut plan.bar, BAR_LEAST + width.saturating_sub(BAR_FROM) / 5);
        plan
    }

    fn line(&self, name: &str, facts: &Facts) -> Line {
        let mut line = Line::default();
        let shown = cut(name, self.name);
        line.push(Paint::None, isolated(&shown).into_owned());
        line.push(Paint::None, padding(&shown, self.name));
        if self.bar > 0 {
            let full = (facts.permille() as usize * self.bar) / 1000;
            let tip = usize::from(full < self.bar && facts.total.is_some());
            let bar = "=".repeat(full) + &">".repeat(tip);
            let rest = " ".repeat(self.bar - full - tip);
            line.push(Paint::None, " ");
            line.push(Paint::Green, bar);
            line.push(Paint::None, rest);
        }
        for &(column, width) in &self.cells {
            let text = column.text(facts);
            let space = padding(&text, width);
            let left = matches!(column, Column::Percent | Column::Bytes);
            let cell = if left { format!(" {space}{text}") } else { format!(" {text}{space}") };
            let faint = column == Column::Up && facts.up == Some(0);
            line.push(if faint { Paint::Faint } else { Paint::None }, cell);
        }
        if self.note > 0 {
            line.push(Paint::None, " ");
            line.push(Paint::of(facts.tone), cut(&facts.note, self.note).into_owned());
        }
        line.trimmed()
    }
}

fn percent(facts: &Facts) -> String {
    match facts.total {
        None => String::new(),
        Some(_) => {
            let permille = facts.permille();
            format!("{:>3}.{}%", permille / 10, permille % 10)
        }
    }
}

/// `13.8 of 28.6 MiB`; the unit is said once where it is the same.
fn bytes(facts: &Facts) -> String {
    let Some(total) = facts.total else { return String::new() };
    let of = Size(total).to_string();
    if facts.done >= total {
        return of;
    }
    let done = Size(facts.done).to_string();
    match (done.split_once(' '), of.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {of}"),
        _ => format!("{done} of {of}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::facts::Activity;
    use super::*;

    fn fetching() -> Facts {
        Facts {
            activity: Activity::Moving,
            done: 412 << 20,
            total: Some(1229 << 20),
            down: Some(55_000_000),
            up: Some(5_500_000),
            peers: Some(12),
            eta: Some(Duration::from_secs(15)),
            note: "[rate limit]".to_owned(),
            tone: Tone::Slow,
        }
    }

    fn one(name: &str, facts: &Facts, width: usize) -> String {
        table(&[(name, facts)], width).remove(0).render(false)
    }

    const NAMES: [&str; 7] = [
        "a",
        "album",
        "a-name-that-is-much-longer-than-any-terminal-has-room-for-in-one-of-its-lines.and.more.iso",
        "とても長い名前のトレントファイル第一巻とても長い名前のトレントファイル",
        "👩\u{200d}🚀 🎬 e\u{301}te\u{301} 👨\u{200d}👩\u{200d}👧\u{200d}👦 with a long tail of plain letters",
        "שם ארוך מאוד של קובץ אחד שאין לו מקום",
        "",
    ];

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = "[no peers: tracker.example: the host has no address that we can reach]";
        let waiting = Facts { note: long.to_owned(), eta: None, ..fetching() };
        let magnet = Facts { total: None, done: 0, ..waiting.clone() };
        let seed = Facts { down: None, eta: None, note: "seeding".to_owned(), ..fetching() };
        for width in 20..=200 {
            for name in NAMES {
                for facts in [&fetching(), &waiting, &magnet, &seed] {
                    let line = one(name, facts, width);
                    assert!(columns(&line) <= width, "{width}: {line:?}");
                }
            }
        }
        for width in 0..20 {
            let line = one(NAMES[2], &waiting, width);
            assert!(columns(&line) <= width, "{width}: {line:?}");
        }
    }

    #[test]
    fn wider_terminals_show_more() {
        let name = NAMES[2];
        assert_eq!(one(name, &fetching(), 20), "a-name-that-…  33.5%");
        let parts = ["[rate limit]", "↓52.5 MiB/s", "412 MiB of 1.2 GiB", "12 peers", "↑5.2 MiB/s"];
        for (width, count) in [(20, 0), (40, 1), (60, 2), (80, 3), (120, 5), (200, 5)] {
            let line = one(name, &fetching(), width);
            let shown = parts.iter().map(|part| line.contains(part));
            assert_eq!(shown.collect::<Vec<_>>(), [0, 1, 2, 3, 4].map(|n| n < count), "{line}");
        }
    }

    #[test]
    fn a_name_is_whole_where_there_is_room_and_marked_where_it_is_cut() {
        for width in 20..=200 {
            for name in &NAMES[..6] {
                let line = one(name, &fetching(), width);
                let is_whole = line.contains(name);
                assert!(is_whole != line.split("  ").next().unwrap().contains('…'), "{line}");
            }
        }
        assert!(one(NAMES[2], &fetching(), 200).contains(NAMES[2]));
        let name_at = |width| one(NAMES[2], &fetching(), width).find('…').unwrap();
        assert!(name_at(100) > name_at(80) && name_at(120) > name_at(100));
    }

    #[test]
    fn the_bar_grows_with_the_width() {
        let bar = |width| {
            let line = one("album", &Facts { done: 1229 << 20, ..fetching() }, width);
            line.matches('=').count()
        };
        assert_eq!(bar(40), 0);
        assert!(bar(80) > bar(60) && bar(120) > bar(80) && bar(200) > bar(120));
    }

    #[test]
    fn nothing_of_known_size_has_no_bar() {
        let magnet = Facts { done: 0, note: "[no peers]".to_owned(), ..Facts::default() };
        assert_eq!(one("album", &magnet, 80), "album [no peers]");
    }

    #[test]
    fn columns_of_several_tasks_stand_below_each_other() {
        let (fetching, mut other) = (fetching(), fetching());
        other.peers = Some(1);
        other.down = Some(5);
        let seed = Facts { down: None, eta: None, note: "seeding".to_owned(), ..fetching.clone() };
        let rows = [("文件", &fetching), ("a longer name", &other), ("x", &seed)];
        let lines: Vec<String> = table(&rows, 120).iter().map(|line| line.render(false)).collect();
        let at = |line: &str, what: char| columns(line.split(what).next().unwrap());
        assert_eq!(at(&lines[0], '%'), at(&lines[1], '%'));
        assert_eq!(at(&lines[0], '%'), at(&lines[2], '%'));
        assert_eq!(at(&lines[0], '↓'), at(&lines[1], '↓'));
        assert_eq!(at(&lines[0], '↑'), at(&lines[2], '↑'));
    }

    #[test]
    fn colour_changes_no_column() {
        let line = table(&[("album", &fetching())], 80).remove(0);
        let painted = line.render(true);
        assert!(painted.contains("\x1b[33m[rate limit]\x1b[0m"), "{painted:?}");
        assert!(!line.render(false).contains('\x1b'));
    }

    #[test]
    fn bytes_are_said_with_their_unit_once() {
        let said = |done, total| bytes(&Facts::work(done, total, String::new()));
        assert_eq!(said(412 << 20, 640 << 20), "412 of 640 MiB");
        assert_eq!(said(30 << 20, 2 << 30), "30.0 MiB of 2.0 GiB");
        assert_eq!(said(5, 5), "5 B");
        assert_eq!(said(0, 0), "0 B");
    }

    #[test]
    fn a_sentence_leaves_nothing_out() {
        let said = sentence("album", &fetching()).render(false);
        assert_eq!(
            said,
            "album: 33.5% 412 MiB of 1.2 GiB ↓52.5 MiB/s ↑5.2 MiB/s 12 peers ETA 15 s [rate limit]"
        );
    }
}
