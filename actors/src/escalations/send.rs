//! Sending: what an event wants done goes out, and what comes of it is noted.
//!
//! A row is *pending* until its single execution is durable under the row's key, *sending* while that goes on, and *maybe
//! sent* once an attempt of it has ended without anybody knowing what it did: then it is tried again under the same key, and
//! everybody can see so. Whether somebody has acknowledged is looked at here, at the moment of sending.

use std::collections::HashMap;

use core314_domain::escalation::{Command, Event, LevelAction, Purpose, Surroundings};
use core314_domain::ids::{RowId, RunId, uuid_ms};
use core314_domain::words::RunStatus;

use super::act::{Done, NotDone, short};
use super::remedies::{is_remedy, remedied};
use super::step::Setting;
use super::{Desk, EscalationError};
use crate::failpoint;
use crate::ports::escalation::{
    EscalationWrite, EventBefore, OutboxKind, OutboxRow, OutboxStatus, OutboxStep, StoredEscalation,
};
use crate::ports::store::{Outcome, StoredRun};
use crate::ports::{Scope, StoreError};
use crate::runtime::Counters;

/// The first wait before another try, and the longest, in ms.
const RETRY_MS: i64 = 500;
const LONGEST_RETRY_MS: i64 = 60_000;
/// How long to wait for the end of what is being sent without looking: its end is told at once as well. What is young is
/// looked at sooner, so that what a crash has left unknown is soon seen to be.
const LOOK_SOON_MS: i64 = 1_000;
const LOOK_MS: i64 = 30_000;
/// How often what is held is looked at, though nobody has said that it goes on.
const HELD_LOOK_MS: i64 = 60_000;
/// Turns of one look: sending may mend, mending may resolve, and that may stop or send.
const TURNS: usize = 8;

impl Desk {
    /// Looks at an event: does what is due, sends what is to be sent, notes what has come of it. When to look again.
    pub(super) async fn look(
        &self,
        escalation: RowId,
        watch: &mut Vec<uuid::Uuid>,
    ) -> Result<Option<i64>, EscalationError> {
        let mut wake_ms = None;
        for _ in 0..TURNS {
            let Some(mut stored) = self.book.escalation(Scope::Platform, escalation).await? else {
                return Err(EscalationError::NotFound);
            };
            let mut kept_wake_ms = stored.wake_ms;
            let mut rows = self.book.outbox(escalation).await?;
            let observed = self.observe(&mut rows).await?;
            if !observed.is_empty() {
                self.note(&stored, stored.wake_ms, observed.clone()).await?;
            }
            self.stop(&stored, &rows).await;
            let mut setting = None;
            if !stored.event.status.is_closed() {
                if let Some(command) = remedied(&rows, &stored, self.now_ms()) {
                    self.decide_on(escalation, &command, "remediation").await?;
                    continue;
                }
                let (version, now) = (stored.version, self.setting(&stored).await?);
                match self.decide_in(&now, stored, &Command::Look, None, "rules").await? {
                    Some(looked) => stored = looked,
                    None => continue,
                }
                if stored.version == version {
                    setting = Some(now);
                } else {
                    // The look may have written more.
                    kept_wake_ms = stored.wake_ms;
                    rows = self.book.outbox(escalation).await?;
                }
            }
            let is_pending = rows.iter().any(|row| row.status == OutboxStatus::Pending);
            // What was written took its time: what surrounds the event is read again before something is sent.
            if setting.is_none() && (is_pending || !stored.event.status.is_closed()) {
                setting = Some(self.setting(&stored).await?);
            }
            let next_ms = if stored.event.status.is_closed() { None } else { stored.wake_ms };
            let around = setting.as_ref().filter(|_| is_pending).map(|setting| &setting.around);
            let held_until_ms = around.and_then(|around| self.held_until(&stored, around));
            let (changed, later_ms) = self.send(&stored, &mut rows, held_until_ms).await;
            watch.clear();
            watch.extend(rows.iter().filter(|row| !row.status.is_final()).filter_map(|row| row.run).map(|run| run.0));
            // A new event's time is the moment of its first look: from here on it is when it has something to do.
            let due_ms = self.due_again(&stored, setting.as_ref(), next_ms);
            wake_ms = [due_ms, later_ms].into_iter().flatten().min();
            if !changed.is_empty() || wake_ms != kept_wake_ms {
                self.note(&stored, wake_ms, changed).await?;
            }
            break;
        }
        Ok(wake_ms)
    }

    /// Takes up what was begun and not noted, because a crash came between a run and its note. An end that comes before the
    /// next look would cross it out as never begun: its run would go on, and the alert that it has opened would stay open.
    pub(super) async fn take_up(&self, stored: &StoredEscalation) -> Result<(), StoreError> {
        let begun = self.book.begun(stored.owner.tenant, stored.id).await?;
        if begun.is_empty() {
            return Ok(());
        }
        let begun: HashMap<RowId, RunId> = begun.into_iter().collect();
        let rows = self.book.outbox(stored.id).await?.into_iter().filter_map(|row| {
            let run = begun.get(&row.id).copied()?;
            Some(OutboxRow { status: OutboxStatus::Sending, run: Some(run), ..row })
        });
        self.note(stored, stored.wake_ms, rows.collect()).await
    }

    /// When the event itself has something to do next.
    fn due_again(&self, stored: &StoredEscalation, setting: Option<&Setting>, next_ms: Option<i64>) -> Option<i64> {
        let Setting { rule, around } = setting.filter(|_| !stored.event.status.is_closed())?;
        let decided = stored.event.decide(rule, &Command::Look, around, self.now_ms());
        let breaches = |event: &Event| EventBefore::of(event).breaches;
        decided.map_or(next_ms, |decision| {
            // What has become due in this very moment is decided by the next look; a breach may be due that tells nobody.
            let is_due = !decision.tasks.is_empty() || breaches(&decision.event) != breaches(&stored.event);
            if is_due { Some(self.now_ms()) } else { decision.next_wake_ms }
        })
    }

    /// Until when what is pending waits for the end of a silence, or of what the rule depends on; `None`: it is done now. It is
    /// looked for at the moment of sending, also where the event has ended: a breach of its service time may still be told.
    fn held_until(&self, stored: &StoredEscalation, around: &Surroundings) -> Option<i64> {
        let look_ms = self.now_ms() + HELD_LOOK_MS;
        // Whoever ends a silence early has open events looked at; one that has ended looks itself.
        let most_ms = if stored.event.status.is_closed() { look_ms } else { i64::MAX };
        around.hold.as_ref().map(|hold| hold.until_ms.unwrap_or(look_ms).min(most_ms))
    }

    /// What has become of what is being sent.
    async fn observe(&self, rows: &mut [OutboxRow]) -> Result<Vec<OutboxRow>, StoreError> {
        let mut changed = Vec::new();
        let open = |row: &&mut OutboxRow| !row.status.is_final() && row.run.is_some();
        let runs: Vec<RunId> = rows.iter_mut().filter(open).filter_map(|row| row.run).collect();
        let stored = if runs.is_empty() { Vec::new() } else { self.runtime().store.load_runs(runs).await? };
        let stored: HashMap<RunId, StoredRun> = stored.into_iter().map(|run| (run.header.id, run)).collect();
        for row in rows.iter_mut().filter(open) {
            let Some((run, stored)) = row.run.and_then(|run| stored.get_key_value(&run)) else { continue };
            let before = row.clone();
            row.is_unknown = row.is_unknown || self.book.has_unknown(*run).await?;
            let is_back = row.kind == OutboxKind::Act && row.channel == LevelAction::RollbackChanges.as_str();
            let done = if is_back { RunStatus::RolledBack } else { RunStatus::Completed };
            match stored.state.status {
                status if status == done => {
                    row.status = OutboxStatus::Sent;
                    row.sent_ms = stored.state.completed_at_ms;
                    row.error = None;
                }
                RunStatus::Cancelled => row.status = OutboxStatus::Cancelled,
                status if status.is_terminal() => {
                    row.status = OutboxStatus::Failed;
                    let errors = stored.attempts.iter().rev().find_map(|attempt| attempt.error.as_deref());
                    let failed = if is_back {
                        "it could not be taken back: the run says which undo failed"
                    } else {
                        "it failed"
                    };
                    row.error = Some(short(errors.filter(|_| !is_back).unwrap_or(failed)));
                }
                _ if row.is_unknown => row.status = OutboxStatus::MaybeSent,
                _ => {}
            }
            if *row != before {
                changed.push(row.clone());
            }
        }
        Ok(changed)
    }

    /// Sends what is pending and is not held. The rows that changed, and when to look again because of them.
    async fn send(
        &self,
        stored: &StoredEscalation,
        rows: &mut [OutboxRow],
        held_until_ms: Option<i64>,
    ) -> (Vec<OutboxRow>, Option<i64>) {
        let mut changed = Vec::new();
        let mut later_ms = None;
        // What stands behind a switch to a backup that is tried again waits for it.
        let mut behind: Option<(Purpose, u32)> = None;
        let mut wait = |at_ms: i64| later_ms = Some(later_ms.map_or(at_ms, |other: i64| other.min(at_ms)));
        for row in rows.iter_mut() {
            let waits_ms = waits_until(row, held_until_ms, self.now_ms());
            match row.status {
                OutboxStatus::Sending | OutboxStatus::MaybeSent => wait(look_ms(row, self.now_ms())),
                OutboxStatus::Pending if !is_wanted(stored, row) => {
                    row.status = OutboxStatus::Cancelled;
                    changed.push(row.clone());
                }
                OutboxStatus::Pending if waits_ms.is_some() => waits_ms.into_iter().for_each(&mut wait),
                OutboxStatus::Pending if is_remedy(row) && behind == Some((row.purpose, row.level)) => {}
                OutboxStatus::Pending => {
                    failpoint::hit("escalation.before_send");
                    match self.perform(stored, row).await {
                        Ok(Done::Performs(run)) => {
                            (row.status, row.run) = (OutboxStatus::Sending, Some(run));
                            wait(look_ms(row, self.now_ms()));
                        }
                        Ok(Done::Done) => {
                            (row.status, row.sent_ms, row.error) = (OutboxStatus::Sent, Some(self.now_ms()), None);
                        }
                        Err(NotDone::Later(why)) => {
                            row.tries += 1;
                            row.error = Some(short(&why));
                            if row.channel == LevelAction::SwitchToBackup.as_str() {
                                behind = Some((row.purpose, row.level));
                            }
                            wait(self.now_ms() + (RETRY_MS << row.tries.min(10)).min(LONGEST_RETRY_MS));
                        }
                        Err(NotDone::Never(why)) => {
                            (row.status, row.error) = (OutboxStatus::Failed, Some(short(&why)));
                            // A remediation that cannot be tried is one that failed.
                            wait(self.now_ms());
                        }
                    }
                    failpoint::hit("escalation.after_send");
                    changed.push(row.clone());
                }
                OutboxStatus::Sent | OutboxStatus::Failed | OutboxStatus::Cancelled => {}
            }
        }
        (changed, later_ms)
    }

    /// Notes rows, and when the event is looked at again.
    async fn note(
        &self,
        stored: &StoredEscalation,
        wake_ms: Option<i64>,
        rows: Vec<OutboxRow>,
    ) -> Result<(), StoreError> {
        let (escalation, tenant, version) = (stored.id, stored.owner.tenant, stored.version);
        let ended = rows.iter().filter_map(|row| match row.status {
            OutboxStatus::Sent => Some(0),
            OutboxStatus::Failed => Some(1),
            OutboxStatus::Cancelled => Some(2),
            OutboxStatus::Pending | OutboxStatus::Sending | OutboxStatus::MaybeSent => None,
        });
        let ended: Vec<usize> = ended.collect();
        let at_ms = self.now_ms();
        let step = OutboxStep { escalation, tenant, version, wake_ms, rows, at_ms };
        match self.commit(EscalationWrite::Outbox(step)).await? {
            Outcome::Committed { .. } => {
                let counters = &self.runtime().counters;
                ended.into_iter().for_each(|place| Counters::add(&counters.escalation_sends[place], 1));
                Ok(())
            }
            other => Err(crate::engine::unexpected(other)),
        }
    }

    /// Stops what is under way and nobody needs any more. What had failed itself is never stopped.
    async fn stop(&self, stored: &StoredEscalation, rows: &[OutboxRow]) {
        for row in rows.iter().filter(|row| !row.status.is_final() && !is_wanted(stored, row)) {
            if let Some(run) = row.run.filter(|run| Some(*run) != stored.run) {
                self.cancel(stored, run).await;
            }
        }
    }
}

/// Until when a row is not done though it is wanted: while its event is held, and before somebody's quiet hours are over. What
/// follows up on an alert that is open elsewhere disturbs nobody.
fn waits_until(row: &OutboxRow, held_until_ms: Option<i64>, now_ms: i64) -> Option<i64> {
    let held_ms = held_until_ms.filter(|_| row.purpose != Purpose::FollowUp);
    held_ms.max(row.not_before_ms).filter(|at_ms| *at_ms > now_ms)
}

/// When what is being sent is looked at again: the older it is, the later.
fn look_ms(row: &OutboxRow, now_ms: i64) -> i64 {
    now_ms + (now_ms - uuid_ms(row.id.0)).clamp(LOOK_SOON_MS, LOOK_MS)
}

/// Whether something is still to be done: what an acknowledgement or the end has stopped is not, nor is anything but the notice
/// of a service level, of other failures, and of the end itself, after the end.
fn is_wanted(stored: &StoredEscalation, row: &OutboxRow) -> bool {
    let outlasts =
        matches!(row.purpose, Purpose::SlaWarning | Purpose::SlaBreach | Purpose::FollowUp | Purpose::HeldBack);
    !row.is_stopped && (outlasts || !stored.event.status.is_closed())
}

#[cfg(test)]
mod tests {
    use super::super::remedies::tests::row;
    use super::*;

    #[test]
    fn a_hold_keeps_back_all_but_what_follows_up_and_quiet_hours_end_in_their_time() {
        let pending = |purpose: Purpose, not_before_ms: Option<i64>| OutboxRow {
            not_before_ms,
            ..row(purpose, OutboxKind::Notify, "slack", OutboxStatus::Pending)
        };
        for purpose in [Purpose::Level, Purpose::Repeat, Purpose::SlaBreach, Purpose::Remediation, Purpose::FixFirst] {
            assert_eq!(waits_until(&pending(purpose, None), Some(50), 10), Some(50), "{purpose}");
            assert_eq!(waits_until(&pending(purpose, None), None, 10), None, "{purpose}");
        }
        assert_eq!(waits_until(&pending(Purpose::FollowUp, None), Some(50), 10), None);
        assert_eq!(waits_until(&pending(Purpose::Level, Some(30)), None, 10), Some(30), "quiet hours");
        assert_eq!(waits_until(&pending(Purpose::Level, Some(30)), None, 30), None, "they are over");
        assert_eq!(waits_until(&pending(Purpose::Level, Some(30)), Some(50), 30), Some(50), "within a silence");
    }
}
