//! The same for many runs: how fast, and when to stop.
//!
//! ```text
//! canary ─► all of the canary have ended well ─► ramp (doubling) ─► finished
//!    └──────────────── too many end badly ────────────┴─► stopped
//! ```
//!
//! [`BulkJob::step`] says how many runs may be told something now; whoever tells them notes it in [`Progress`]. Times and
//! counts are all it knows, so that a job goes on after a crash from what was stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Owner, RowId, RunId};
use crate::limits::{Bucket, Rate};
use crate::words::{RunStatus, words};

/// How many runs are told at once, however fast they may go.
pub const MOST_AT_ONCE: usize = 64;
/// Runs of one job at most.
pub const MOST_RUNS: usize = 100_000;

words! {
    /// What is done to each run.
    BulkVerb { Retry = "retry", Rerun = "rerun", Restart = "restart", Cancel = "cancel" }
    /// Where a job stands.
    BulkStatus {
        Running = "running", Paused = "paused", Finished = "finished", Stopped = "stopped", Cancelled = "cancelled",
    }
    /// What became of one run of a job.
    ItemStatus { Pending = "pending", Sending = "sending", Done = "done", Refused = "refused" }
}

impl BulkStatus {
    /// Whether nothing more is done.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Cancelled)
    }
}

/// How fast a job goes: from `per_second` on, doubled every so often, up to `max_per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BulkRamp")]
pub struct Ramp {
    /// Runs a second at first: 1 to 1,000.
    pub per_second: u32,
    /// Runs a second at most: `per_second` to 1,000; absent: `per_second`, so that it does not grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_second: Option<u32>,
    /// After how many seconds it doubles: 1 to 3,600.
    #[serde(default = "ten")]
    pub double_every_seconds: u32,
}

/// How a job is to go about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkPlan {
    pub verb: BulkVerb,
    /// Of `rerun`: the step with which the new runs begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
    /// The same: the version of the flow; absent: that of each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// So many first, and the others only when these have ended and few of them badly.
    pub canary: u32,
    pub ramp: Ramp,
    /// The job stops once more than this part of the runs has refused or ended badly.
    pub stop_above_error_rate: f64,
    /// Of so many at least: fewer say nothing.
    pub minimum_sample: u32,
    /// Who asked for it: `user:ID` or `service:KEY`.
    pub by: String,
    pub total: u32,
}

/// What a job has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BulkProgress")]
pub struct Progress {
    /// Runs that were told.
    pub done: u32,
    /// Runs that could not be told: their state did not allow it.
    pub refused: u32,
    /// Of those that were told, the ones that have ended well since: or are cancelled, where that was asked for.
    pub succeeded: u32,
    /// The ones that have ended badly.
    pub failed: u32,
    /// Why it stopped by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the ramp began, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_began_at_ms: Option<i64>,
    /// The bucket of its pace: when it is full again, in microseconds since the epoch.
    #[serde(default)]
    pub pace_us: i64,
}

/// A job, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkJob {
    pub id: RowId,
    pub owner: Owner,
    pub status: BulkStatus,
    pub plan: BulkPlan,
    pub progress: Progress,
    pub version: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// One run of a job, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkItem {
    pub no: u32,
    pub run: RunId,
    /// The run whose end counts: itself, or the one that was started in its place.
    pub target: Option<RunId>,
    pub status: ItemStatus,
    /// While it is being told: how often the run had been taken up again before. After a crash this says whether it was.
    pub mark: i64,
    pub error: Option<String>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many may be told now.
    Tell(usize),
    /// Nothing before this time, in milliseconds since the epoch; or before something has ended.
    Wait(Option<i64>),
    /// It is over.
    End(BulkStatus),
}

impl Progress {
    /// A run that was told has ended.
    pub fn ended(&mut self, verb: BulkVerb, status: RunStatus) {
        let is_well = status == RunStatus::Completed || (verb == BulkVerb::Cancel && status == RunStatus::Cancelled);
        if is_well {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }

    fn told(&self) -> u32 {
        self.done + self.refused
    }

    /// How many have shown how they go.
    fn sample(&self) -> u32 {
        self.refused + self.succeeded + self.failed
    }
}

impl BulkJob {
    /// What is to be done next, as of `now_ms`. Notes when it stops by itself, and what its pace has used up.
    pub fn step(&mut self, now_ms: i64) -> Step {
        if self.status != BulkStatus::Running {
            return Step::End(self.status);
        }
        if self.goes_badly() {
            return Step::End(BulkStatus::Stopped);
        }
        let (plan, told) = (&self.plan, self.progress.told());
        if told >= plan.total {
            return if self.progress.sample() >= plan.total {
                Step::End(BulkStatus::Finished)
            } else {
                Step::Wait(None)
            };
        }
        let canary = plan.canary.min(plan.total);
        if told < canary {
            return self.paced(canary - told, rate(plan.ramp.per_second), now_ms);
        }
        if canary > 0 && self.progress.sample() < canary {
            return Step::Wait(None);
        }
        let began_at_ms = *self.progress.ramp_began_at_ms.get_or_insert(now_ms);
        let per_second = self.plan.ramp.at(now_ms - began_at_ms);
        self.paced(self.plan.total - told, rate(per_second), now_ms)
    }

    fn goes_badly(&mut self) -> bool {
        let (sample, bad) = (self.progress.sample(), self.progress.refused + self.progress.failed);
        let is_bad = sample >= self.plan.minimum_sample.max(1)
            && f64::from(bad) > self.plan.stop_above_error_rate * f64::from(sample);
        if is_bad {
            let rate = self.plan.stop_above_error_rate;
            self.progress.reason =
                Some(format!("{bad} of {sample} runs refused or ended badly, more than {rate} of them"));
        }
        is_bad
    }

    /// How many the pace lets go now, and takes their tokens.
    fn paced(&mut self, wanted: u32, rate: Rate, now_ms: i64) -> Step {
        let mut bucket = Bucket { full_at_us: self.progress.pace_us };
        let mut count = 0;
        while count < MOST_AT_ONCE.min(wanted as usize) {
            match bucket.take(rate, now_ms * 1_000) {
                Ok(()) => count += 1,
                Err(at_us) if count == 0 => return Step::Wait(Some((at_us + 999) / 1_000)),
                Err(_) => break,
            }
        }
        self.progress.pace_us = bucket.full_at_us;
        Step::Tell(count)
    }
}

impl Ramp {
    /// Runs a second after so long.
    fn at(&self, since_ms: i64) -> u32 {
        let most = self.max_per_second.unwrap_or(self.per_second);
        let doublings = (since_ms.max(0) / (i64::from(self.double_every_seconds) * 1_000)).min(16) as u32;
        self.per_second.saturating_mul(1 << doublings).min(most)
    }

    /// What is wrong with it: the field, and what it must be.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if !(1..=1_000).contains(&self.per_second) {
            return Some(("ramp.per_second", "must be 1 to 1000".to_owned()));
        }
        if self.max_per_second.is_some_and(|most| !(self.per_second..=1_000).contains(&most)) {
            return Some(("ramp.max_per_second", format!("must be {} to 1000", self.per_second)));
        }
        (!(1..=3_600).contains(&self.double_every_seconds))
            .then(|| ("ramp.double_every_seconds", "must be 1 to 3600".to_owned()))
    }
}

impl Default for Ramp {
    /// Ten a second, doubling every ten seconds, up to a hundred.
    fn default() -> Self {
        Self { per_second: 10, max_per_second: Some(100), double_every_seconds: ten() }
    }
}

/// Evenly spread up to fifty a second; what is faster comes in handfuls, fifty of them a second.
fn rate(per_second: u32) -> Rate {
    let per_second = i64::from(per_second.max(1));
    // Rounded up: the rate is never exceeded.
    Rate { interval_us: (1_000_000 + per_second - 1) / per_second, burst: (per_second as u32 / 50).max(1) }
}

fn ten() -> u32 {
    10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use uuid::Uuid;

    fn job(total: u32, canary: u32, ramp: Ramp) -> BulkJob {
        let plan = BulkPlan {
            verb: BulkVerb::Retry,
            from_step: None,
            version: None,
            canary,
            ramp,
            stop_above_error_rate: 0.2,
            minimum_sample: 10,
            by: "user:9".to_owned(),
            total,
        };
        BulkJob {
            id: RowId(Uuid::from_u128(1)),
            owner: Owner::new(UserId(Uuid::from_u128(9)), None),
            status: BulkStatus::Running,
            plan,
            progress: Progress::default(),
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    /// Drives a job whose runs end `takes_ms` after they were told, and badly where `is_bad` says so. The times at which
    /// runs were told, and how it ended.
    fn drive(mut job: BulkJob, takes_ms: i64, is_bad: impl Fn(usize) -> bool) -> (Vec<i64>, BulkJob) {
        let (mut now_ms, mut told, mut seen) = (1_000_000, Vec::new(), 0);
        loop {
            while told.get(seen).is_some_and(|at| at + takes_ms <= now_ms) {
                let status = if is_bad(seen) { RunStatus::Failed } else { RunStatus::Completed };
                job.progress.ended(job.plan.verb, status);
                seen += 1;
            }
            match job.step(now_ms) {
                Step::Tell(count) => {
                    assert!(count > 0 && count <= MOST_AT_ONCE);
                    job.progress.done += count as u32;
                    told.extend(std::iter::repeat_n(now_ms, count));
                }
                Step::Wait(until_ms) => now_ms = until_ms.unwrap_or(now_ms + 1).max(now_ms + 1),
                Step::End(status) => {
                    job.status = status;
                    return (told, job);
                }
            }
            // A crash: all that goes on is what was stored.
            let stored = serde_json::to_string(&(&job.plan, &job.progress)).unwrap();
            (job.plan, job.progress) = serde_json::from_str(&stored).unwrap();
        }
    }

    fn most_in_a_second(told: &[i64]) -> usize {
        told.iter().map(|from| told.iter().filter(|at| (*from..*from + 1_000).contains(at)).count()).max().unwrap_or(0)
    }

    #[test]
    fn a_ramp_doubles_up_to_its_maximum_and_never_passes_it() {
        let ramp = Ramp { per_second: 5, max_per_second: Some(50), double_every_seconds: 2 };
        let (told, job) = drive(job(600, 0, ramp), 30, |_| false);
        assert_eq!((told.len(), job.status, job.progress.succeeded), (600, BulkStatus::Finished, 600));
        assert!(most_in_a_second(&told) <= 50, "{}", most_in_a_second(&told));
        assert!(most_in_a_second(&told) >= 48, "it comes near: {}", most_in_a_second(&told));
        let first_second = told.iter().filter(|at| **at < told[0] + 1_000).count();
        assert_eq!(first_second, 5);
    }

    #[test]
    fn the_canary_goes_first_and_alone() {
        let ramp = Ramp { per_second: 1_000, max_per_second: None, double_every_seconds: 1 };
        let (told, job) = drive(job(100, 10, ramp), 5_000, |_| false);
        assert_eq!((told.len(), job.status), (100, BulkStatus::Finished));
        assert!(told[9] < told[0] + 100 && told[10] >= told[9] + 5_000, "{:?}", &told[..12]);
    }

    #[test]
    fn it_stops_by_itself_when_too_many_end_badly() {
        let ramp = Ramp { per_second: 50, max_per_second: None, double_every_seconds: 1 };
        let (told, bad) = drive(job(15_000, 10, ramp), 30, |no| no >= 100);
        assert_eq!(bad.status, BulkStatus::Stopped);
        assert!(told.len() > 110 && told.len() < 150, "soon after the hundredth: {}", told.len());
        assert!(bad.progress.reason.as_deref().is_some_and(|reason| reason.contains("more than 0.2")));
        let (told, bad) = drive(job(15_000, 10, ramp), 30, |_| true);
        assert_eq!((told.len(), bad.status), (10, BulkStatus::Stopped), "a bad canary saves the others");
    }

    #[test]
    fn a_paused_job_does_nothing_and_a_ramp_is_checked() {
        let mut paused = job(10, 0, Ramp::default());
        paused.status = BulkStatus::Paused;
        assert_eq!(paused.step(0), Step::End(BulkStatus::Paused));
        let wrong = |ramp: Ramp| ramp.problem().map(|(field, _)| field);
        assert_eq!(wrong(Ramp::default()), None);
        assert_eq!(wrong(Ramp { per_second: 0, ..Ramp::default() }), Some("ramp.per_second"));
        assert_eq!(wrong(Ramp { max_per_second: Some(5), ..Ramp::default() }), Some("ramp.max_per_second"));
        assert_eq!(wrong(Ramp { double_every_seconds: 0, ..Ramp::default() }), Some("ramp.double_every_seconds"));
    }
}
