//! Places at which a test may make the process die or an actor panic. Without the feature `failpoints` they are nothing.
//!
//! `CORE314_FAILPOINTS` holds `name=action@nth` entries, separated by commas: at its `nth` passage (from 1) the point
//! `name` kills the process (`kill`) or panics (`panic`); `@nth+` does so at every passage from then on.

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Kill,
        Panic,
    }

    struct Point {
        action: Action,
        nth: u64,
        repeats: bool,
        passed: AtomicU64,
    }

    static POINTS: OnceLock<BTreeMap<String, Point>> = OnceLock::new();

    fn parse(entry: &str) -> (String, Point) {
        let wrong = || -> ! { panic!("CORE314_FAILPOINTS: '{entry}' is not name=kill@nth or name=panic@nth") };
        let Some((name, rest)) = entry.split_once('=') else { wrong() };
        let Some((action, nth)) = rest.split_once('@') else { wrong() };
        let action = match action {
            "kill" => Action::Kill,
            "panic" => Action::Panic,
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
