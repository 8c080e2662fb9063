//! What a fault run has measured: printed, and kept as a part of the report where one is made.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// A part of the report.
pub struct Figures {
    /// Its place among the parts, and the name of its file.
    name: String,
    title: String,
    lines: Vec<String>,
    /// Times, each with what it is of.
    times: Vec<(String, Vec<Duration>)>,
}

impl Figures {
    pub fn new(name: &str, title: impl Into<String>) -> Self {
        Self { name: name.to_owned(), title: title.into(), lines: Vec::new(), times: Vec::new() }
    }

    /// A sentence.
    pub fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// One more time of this name.
    pub fn took(&mut self, what: &str, time: Duration) {
        match self.times.iter_mut().find(|(name, _)| name == what) {
            Some((_, times)) => times.push(time),
            None => self.times.push((what.to_owned(), vec![time])),
        }
    }

    /// Prints it all, and keeps it where `CORE314_FAULTS` says.
    pub fn close(self) {
        let text = self.text();
        println!("{text}");
        let Some(folder) = std::env::var_os("CORE314_FAULTS").map(PathBuf::from) else { return };
        std::fs::create_dir_all(&folder).expect("the folder of the report can be made");
        std::fs::write(folder.join(format!("{}.md", self.name)), text).expect("the report can be written");
    }

    fn text(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for line in &self.lines {
            writeln!(text, "- {line}").expect("memory takes it");
        }
        if !self.times.is_empty() {
            text.push_str("\n| time, in ms | of | p50 | p99 | most |\n|---|---|---|---|---|\n");
        }
        for (what, times) in &self.times {
            let [half, nearly_all, most] = [50, 99, 100].map(|part| percentile(times, part).as_millis());
            writeln!(text, "| {what} | {} | {half} | {nearly_all} | {most} |", times.len()).expect("memory takes it");
        }
        text
    }
}

/// The smallest of these times that is at least as long as so many in a hundred of them.
pub fn percentile(times: &[Duration], part: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * part).div_ceil(100).max(1);
    sorted.get(place - 1).copied().expect("there is a time at least")
}

#[test]
fn percentiles_are_times_that_were_measured() {
    let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
    assert_eq!([50, 99, 100].map(|part| percentile(&times, part).as_millis()), [100, 198, 200]);
    assert_eq!(percentile(&times[..1], 50).as_millis(), 200);
    assert_eq!(percentile(&times[..3], 99).as_millis(), 200);
}

#[test]
fn a_part_of_the_report_is_readable() {
    let mut figures = Figures::new("10-kill", "Killed");
    figures.say("2 rounds");
    figures.took("takeover", Duration::from_millis(7));
    figures.took("takeover", Duration::from_millis(9));
    let expected = "## Killed\n\n- 2 rounds\n\n| time, in ms | of | p50 | p99 | most |\n|---|---|---|---|---|\n\
        | takeover | 2 | 7 | 9 | 9 |\n";
    assert_eq!(figures.text(), expected);
}
