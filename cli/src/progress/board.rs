//! The tasks under way, and which of them a screen shows: all in their order where there is room,
//! else the busiest, a count of the others, and a line for the whole.

use super::facts::{Activity, Facts};
use super::line::{Line, table};

/// What is said of all tasks together.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// What is counted, such as `torrents`.
    pub(crate) of: &'static str,
    /// What else there is to say.
    pub(crate) note: String,
}

/// One task.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) label: String,
    /// `None` until something is known.
    pub(super) facts: Option<Facts>,
    pub(super) is_finished: bool,
}

/// All tasks, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: Vec<Entry>,
    next_id: u64,
    pub(super) whole: Option<Whole>,
}

impl Board {
    pub(super) fn add(&mut self, label: String) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push(Entry { id, label, facts: None, is_finished: false });
        id
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        // Ids only grow, and so do those of the entries.
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get_mut(at)
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Ok(at) = self.entries.binary_search_by_key(&id, |entry| entry.id) {
            self.entries.remove(at);
        }
    }

    /// Whether there is nothing left that could change.
    pub(super) fn is_settled(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_finished)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// What a screen of this size shows, at most a line less than it has rows.
    pub(super) fn lines(&self, width: usize, rows: usize) -> Vec<Line> {
        let known: Vec<(&str, &Facts)> = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry.label.as_str(), entry.facts.as_ref()?)))
            .collect();
        let room = rows.saturating_sub(1).max(1);
        let whole = self.whole.as_ref().filter(|_| known.len() > 1 && room > 2);
        let of_tasks = room - usize::from(whole.is_some());
        let (shown, others) = choose(known.clone(), of_tasks);
        let sum = whole.map(|whole| {
            let facts = Facts::sum(known.iter().map(|(_, facts)| *facts));
            let label = format!("{} {}", known.len(), whole.of);
            (label, Facts { note: whole.note.clone(), ..facts })
        });
        let mut table_rows = shown;
        table_rows.extend(sum.iter().map(|(label, facts)| (label.as_str(), facts)));
        let mut lines = table(&table_rows, width);
        if let Some(counted) = others {
            let at = lines.len() - usize::from(sum.is_some());
            lines.insert(at, Line::text(&counted, width));
        }
        lines
    }
}

/// As many tasks as there is room for, and what is said of the others.
fn choose<'a>(
    mut tasks: Vec<(&'a str, &'a Facts)>,
    room: usize,
) -> (Vec<(&'a str, &'a Facts)>, Option<String>) {
    if tasks.len() <= room {
        return (tasks, None);
    }
    // One line counts the others. Equally busy ones keep their order.
    let shown = room.saturating_sub(1);
    tasks.sort_by_key(|(_, facts)| facts.activity);
    let others = tasks.split_off(shown);
    let count = |activity| others.iter().filter(|(_, facts)| facts.activity == activity).count();
    let kinds = [
        (Activity::Moving, "active"),
        (Activity::Waiting, "waiting"),
        (Activity::Resting, "resting"),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter_map(|(activity, word)| match count(activity) {
            0 => None,
            count => Some(format!("{count} {word}")),
        })
        .collect();
    let plural = if others.len() == 1 { "other" } else { "others" };
    let counted = format!("and {} {plural}: {}", others.len(), kinds.join(", "));
    (tasks, Some(counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board with a task for each of these.
    fn board(activities: &[Activity]) -> Board {
        let mut board = Board::default();
        for (number, &activity) in activities.iter().enumerate() {
            let id = board.add(format!("t{number}"));
            let facts = Facts { activity, up: Some(10), ..Facts::work(1, 2, String::new()) };
            board.get_mut(id).unwrap().facts = Some(facts);
        }
        board
    }

    fn text(board: &Board, rows: usize) -> Vec<String> {
        board.lines(100, rows).iter().map(|line| line.render(false)).collect()
    }

    fn names(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| line.split(' ').next().unwrap()).collect()
    }

    #[test]
    fn all_are_shown_in_their_order_where_there_is_room() {
        use Activity::{Moving, Resting};
        let lines = text(&board(&[Resting, Moving, Resting]), 24);
        assert_eq!(names(&lines), ["t0", "t1", "t2"]);
    }

    #[test]
    fn with_more_than_there_are_rows_the_busy_come_first_and_the_others_are_counted() {
        use Activity::{Moving, Resting, Waiting};
        let mut all = vec![Resting; 20];
        all[7] = Waiting;
        all[15] = Moving;
        let mut board = board(&all);
        let lines = text(&board, 6);
        assert_eq!(names(&lines), ["t15", "t7", "t0", "t1", "and"]);
        assert_eq!(lines[4], "and 16 others: 16 resting");
        board.whole = Some(Whole { of: "torrents", note: "DHT: 3 nodes".to_owned() });
        let lines = text(&board, 6);
        assert_eq!(names(&lines), ["t15", "t7", "t0", "and", "20"]);
        assert!(
            lines[4].starts_with("20 torrents") && lines[4].contains("20 of 40 B"),
            "{lines:?}"
        );
        assert!(lines[4].contains("↑200 B/s") && lines[4].ends_with("DHT: 3 nodes"), "{lines:?}");
    }

    #[test]
    fn a_screen_is_never_filled_to_its_last_row() {
        let mut board = board(&[Activity::Waiting; 50]);
        board.whole = Some(Whole { of: "torrents", note: String::new() });
        for rows in 0..80 {
            let count = board.lines(80, rows).len();
            assert!(count <= rows.saturating_sub(1).max(1), "{count} of {rows}");
        }
    }

    #[test]
    fn one_task_has_no_line_for_the_whole() {
        let mut board = board(&[Activity::Moving]);
        board.whole = Some(Whole { of: "torrents", note: String::new() });
        assert_eq!(text(&board, 24).len(), 1);
    }
}
