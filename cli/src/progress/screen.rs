//! Lines that are redrawn in place at the end of a terminal.
//!
//! The cursor waits below them, at the beginning of a line: whatever ends the process, and whatever
//! the terminal echoes, what follows begins on a line of its own. A frame is one string, to be
//! written at once. Lines are written with wrapping switched off, so that a name which the terminal
//! measures otherwise than we do spoils no other line.

use super::line::Line;

/// The size of a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dimensions {
    pub(super) width: usize,
    pub(super) rows: usize,
}

/// What is drawn, and how to draw over it.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The columns of each line that is on the terminal.
    drawn: Vec<usize>,
    reflows: bool,
}

impl Screen {
    /// With nothing drawn. `reflows` says whether the terminal breaks lines anew when it becomes
    /// narrower.
    pub(super) fn new(reflows: bool) -> Self {
        Screen { drawn: Vec::new(), reflows }
    }

    /// What puts these lines in the place of those drawn before, below `above`, which stays.
    pub(super) fn frame(
        &mut self,
        above: &str,
        lines: &[Line],
        colour: bool,
        size: Dimensions,
    ) -> String {
        let mut out = self.back_to_top(size);
        if !above.is_empty() {
            out.push_str("\x1b[J");
            out.push_str(above);
        }
        if !lines.is_empty() {
            out.push_str("\x1b[?7l");
            for line in lines {
                out.push_str("\x1b[2K");
                out.push_str(&line.render(colour));
                out.push_str("\r\n");
            }
            out.push_str("\x1b[?7h");
        }
        out.push_str("\x1b[J");
        self.drawn = lines.iter().map(Line::columns).collect();
        out
    }

    /// What takes the lines away.
    pub(super) fn erase(&mut self, size: Dimensions) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let out = self.back_to_top(size) + "\x1b[J";
        self.drawn.clear();
        out
    }

    /// What is drawn is not ours any more: the next lines come below it.
    pub(super) fn let_go(&mut self) {
        self.drawn.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.drawn.is_empty()
    }

    /// What moves the cursor to where the first line begins.
    fn back_to_top(&self, size: Dimensions) -> String {
        let rows = |columns: &usize| match self.reflows {
            true => columns.div_ceil(size.width.max(1)).max(1),
            false => 1,
        };
        let height: usize = self.drawn.iter().map(rows).sum();
        // What has left the screen cannot be reached.
        match height.min(size.rows.saturating_sub(1)) {
            0 => "\r".to_owned(),
            height => format!("\r\x1b[{height}A"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Dimensions = Dimensions { width: 40, rows: 24 };

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts.iter().map(|text| Line::text(text, 40)).collect()
    }

    /// Draws frames into a terminal of this size; what is on it then, without what is empty.
    fn seen(frames: &[String], size: Dimensions) -> String {
        let some = |size: usize| std::num::NonZeroU16::new(size as u16).unwrap();
        let mut terminal = vt100::Parser::new(some(size.rows), some(size.width), 0);
        frames.iter().for_each(|frame| terminal.process(frame.as_bytes()));
        terminal.screen().contents()
    }

    #[test]
    fn lines_are_redrawn_in_place_and_words_stay_above() {
        let mut screen = Screen::default();
        let mut frames = vec!["$ run\r\n".to_owned()];
        frames.push(screen.frame("", &lines(&["a 1", "b 1 long"]), false, WIDE));
        assert_eq!(seen(&frames, WIDE), "$ run\na 1\nb 1 long");
        frames.push("^C".to_owned());
        frames.push(screen.frame("word\r\n", &lines(&["a 2", "b 2"]), false, WIDE));
        assert_eq!(seen(&frames, WIDE), "$ run\nword\na 2\nb 2");
        frames.push(screen.frame("", &lines(&["a 3"]), false, WIDE));
        assert_eq!(seen(&frames, WIDE), "$ run\nword\na 3");
        frames.push(screen.erase(WIDE));
        assert_eq!(seen(&frames, WIDE), "$ run\nword");
        assert_eq!(screen.erase(WIDE), "", "there is nothing to erase");
    }

    #[test]
    fn a_line_that_fills_the_width_takes_one_row() {
        let size = Dimensions { width: 10, rows: 5 };
        let mut screen = Screen::default();
        let full = [Line::text("0123456789", 10), Line::text("abc", 10)];
        let frames = [screen.frame("", &full, false, size), screen.frame("", &full, false, size)];
        assert_eq!(seen(&frames, size), "0123456789\nabc");
    }

    #[test]
    fn a_narrower_terminal_that_broke_the_lines_anew_is_cleaned() {
        let narrow = Dimensions { width: 20, rows: 24 };
        let texts = lines(&["0123456789012345678901234567", "ab"]);
        let mut screen = Screen::new(true);
        screen.frame("", &texts, false, WIDE);
        assert!(screen.frame("", &lines(&["x"]), false, narrow).starts_with("\r\x1b[3A"));
        let mut screen = Screen::default();
        screen.frame("", &texts, false, WIDE);
        assert!(screen.frame("", &lines(&["x"]), false, narrow).starts_with("\r\x1b[2A"));
    }

    #[test]
    fn what_was_let_go_stays() {
        let mut screen = Screen::default();
        let first = screen.frame("", &lines(&["last words"]), false, WIDE);
        screen.let_go();
        let frames = [first, screen.frame("", &lines(&["next"]), false, WIDE)];
        assert_eq!(seen(&frames, WIDE), "last words\nnext");
    }
}
