//! How far long work is, on the standard error, for people: one line that is written over and goes away.

use std::io::{self, IsTerminal, Write};

use super::print::harmless;

/// A line that is written over. Nothing is written unless the standard error is a terminal.
pub struct Progress {
    is_seen: bool,
}

/// Longer lines would wrap, and could then not be written over.
const CHARACTERS: usize = 78;

impl Progress {
    pub fn new() -> Self {
        Self { is_seen: io::stderr().is_terminal() }
    }

    /// Shows this in place of what was shown.
    pub fn say(&self, text: &str) {
        if self.is_seen {
            let text: String = harmless(text).chars().take(CHARACTERS).collect();
            put(&format!("\r\x1b[K{text}"));
        }
    }

    /// Shows how many of how many are done.
    pub fn step(&self, done: usize, total: usize, what: &str) {
        self.say(&format!("[{done}/{total}] {what}"));
    }

    /// Makes room for a line of results.
    pub fn clear(&self) {
        if self.is_seen {
            put("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn put(text: &str) {
    let mut terminal = io::stderr().lock();
    // Whoever closed the terminal does not look at it.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}
