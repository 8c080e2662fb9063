//! Places at which a test may make the process die or an actor panic. Without the feature `failpoints` they are nothing.
//!
//! `CORE314_FAILPOINTS` holds `name=action@nth` entries, separated by commas: at its `nth` passage (from 1) the point
//! `name` kills the process (`kill`), panics (`panic`) or never returns (`hang`); `@nth+` does so at every passage from then on.
//!
//! `CORE314_CLOCK_OFFSET` names a file that says by how many milliseconds this process's time of day is wrong. It is read each
//! time, so that a test sets the clock of one of several servers on a machine, while that works.

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Kill,
        Panic,
        Hang,
    }

    struct Point {
        action: Action,
        nth: u64,
        repeats: bool,
        passed: AtomicU64,
    }

    static POINTS: OnceLock<BTreeMap<String, Point>> = OnceLock::new();
    static CLOCK: OnceLock<Option<PathBuf>> = OnceLock::new();

    pub fn clock_offset_ms() -> i64 {
        let Some(file) = CLOCK.get_or_init(|| std::env::var_os("CORE314_CLOCK_OFFSET").map(PathBuf::from)) else {
            return 0;
        };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let offset = text.trim().parse();
        offset.unwrap_or_else(|_| panic!("CORE314_CLOCK_OFFSET: {} says no number of milliseconds", file.display()))
    }

    fn parse(entry: &str) -> (String, Point) {
        let wrong = || -> ! { panic!("CORE314_FAILPOINTS: '{entry}' is not name=kill@nth, nor with panic or hang") };
        let Some((name, rest)) = entry.split_once('=') else { wrong() };
        let Some((action, nth)) = rest.split_once('@') else { wrong() };
        let action = match action {
            "kill" => Action::Kill,
            "panic" => Action::Panic,
            "hang" => Action::Hang,
            _ => wrong(),
        };
        let Ok(number) = nth.trim_end_matches('+').parse() else { wrong() };
        (name.to_owned(), Point { action, nth: number, repeats: nth.ends_with('+'), passed: AtomicU64::new(0) })
    }

    pub fn hit(name: &str) {
        let points = POINTS.get_or_init(|| {
            let text = std::env::var("CORE314_FAILPOINTS").unwrap_or_default();
            text.split(',').filter(|e| !e.trim().is_empty()).map(|e| parse(e.trim())).collect()
        });
        let Some(point) = points.get(name) else { return };
        let passed = point.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if passed == point.nth || (point.repeats && passed > point.nth) {
            match point.action {
                // As SIGKILL: no destructor runs, nothing is flushed.
                Action::Kill => std::process::abort(),
                Action::Panic => panic!("failpoint {name}"),
                // With its thread, until the process ends.
                Action::Hang => loop {
                    std::thread::park();
                },
            }
        }
    }
}

/// Passes the point of this name.
#[inline]
pub fn hit(name: &str) {
    #[cfg(feature = "failpoints")]
    armed::hit(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// Passes the point whose name is computed, where there are points at all.
#[inline]
pub fn hit_named(name: impl FnOnce() -> String) {
    if cfg!(feature = "failpoints") {
        hit(&name());
    }
}

/// By how much the time of day of this process is wrong.
#[inline]
pub fn clock_offset_ms() -> i64 {
    #[cfg(feature = "failpoints")]
    {
        armed::clock_offset_ms()
    }
    #[cfg(not(feature = "failpoints"))]
    {
        0
    }
}
