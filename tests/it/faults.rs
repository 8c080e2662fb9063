//! What the fault runs have in common: load whose triggers have names, what must hold afterwards, and figures for the report.
//!
//! The short form is part of the tests. The long one (`CORE314_LONG=1`, and `CORE314_ROUNDS` for another number of rounds than a
//! hundred) is what `make faults` runs, with `CORE314_FAULTS` naming the folder for the parts of the report.

pub mod checks;
pub mod database;
pub mod figures;
pub mod load;

use std::time::Duration;

use super::support::long;

/// Longer than anything takes that ends, also on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How many rounds of a fault are run: so many in the short form.
pub fn rounds(short: u32) -> u32 {
    let chosen = std::env::var("CORE314_ROUNDS").ok().map(|text| text.parse().expect("CORE314_ROUNDS is a number"));
    chosen.unwrap_or(if long() { 100 } else { short })
}

/// Comes again and again, for whoever looks until something is so.
pub fn looks() -> tokio::time::Interval {
    let mut looks = tokio::time::interval(Duration::from_millis(25));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks
}
