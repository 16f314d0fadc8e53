//! A text that is redrawn in place on a terminal.

use std::io;

use console::Term;

/// The part of the terminal that was drawn last. Dropping it shows the cursor again and leaves the
/// last drawing.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Term,
    drawn_lines: usize,
}

impl Screen {
    /// Standard output, which is a terminal.
    pub(super) fn new() -> io::Result<Self> {
        let terminal = Term::buffered_stdout();
        terminal.hide_cursor()?;
        Ok(Self {
            terminal,
            drawn_lines: 0,
        })
    }

    /// Draws `text` over what was drawn last; what does not fit is cut off.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let (height, width) = self.terminal.size();
        self.terminal.move_cursor_up(self.drawn_lines)?;
        self.terminal.clear_to_end_of_screen()?;
        let lines = fit(text, usize::from(height), usize::from(width));
        for line in &lines {
            self.terminal.write_line(line)?;
        }
        self.drawn_lines = lines.len();
        // All at once, or the eye sees it.
        self.terminal.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal went away there is no cursor to show.
        self.terminal.show_cursor().ok();
        self.terminal.flush().ok();
    }
}

/// The lines of `text` cut to `width` columns and to one less than `height`, where the cursor is.
fn fit(text: &str, height: usize, width: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { room };
    let mut fitting: Vec<String> = lines
        .iter()
        .take(shown)
        .map(|line| console::truncate_str(line, width, "…").into_owned())
        .collect();
    if lines.len() > room {
        fitting.push(format!("… and {} more", lines.len() - shown));
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_counted() {
        let text = "heading\none\ntwo\nthree";
        assert_eq!(fit(text, 24, 80), ["heading", "one", "two", "three"]);
        assert_eq!(fit(text, 5, 4), ["hea…", "one", "two", "thr…"]);
        assert_eq!(fit(text, 4, 80), ["heading", "one", "… and 2 more"]);
        assert_eq!(fit(text, 0, 80), ["… and 4 more"]);
    }
}
