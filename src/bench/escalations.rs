//! Ten thousand rules, and a thousand failures a second: what matching costs, and how soon a page goes out.
//!
//! The failures are runs that fail, each written down and taken by the way that every failure goes. A hundred flows fail in turn; of
//! each the failures of one second are about one subject, so that a tenth of them open an event, and the others join it. Each
//! event pages once, by an action that does nothing and notes when it was begun.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use core314_actors::engine::{Engine, RuleDraft};
use core314_actors::ingress::{Trigger, TriggerError};
use core314_domain::escalation::{EscalationReason, Failure, RuleDocument, ask};
use core314_domain::ids::FlowId;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::measure::{Latency, Meter, Peak, resident_bytes};
use super::pager::Pager;
use super::workload::{batches, ended, owner, save_flow, trigger, with_batches};
use super::{Figures, Installation, NodeOptions, Plan, Workload};

const RULES: usize = 10_000;
const FLOWS: usize = 100;
/// Rules that may be about anything: their conditions are asked of every failure.
const UNFILTERED: usize = 100;
const FAILURES_PER_SECOND: u64 = 1_000;
/// Between two handfuls of failures.
const BEAT: Duration = Duration::from_millis(10);
/// Rules that are saved at once.
const AT_ONCE: usize = 64;
/// How often matching is measured by itself.
const MATCHES: usize = 10_000;
/// How often it is measured with a walk over all rules, as if there were no index.
const WALKS: usize = 100;
/// How long what was written down may take to be done.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the workload showed beside its rate and the latency of its pages.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EscalationFigures {
    pub rules: usize,
    /// Reading and compiling them.
    pub read_ms: f64,
    /// Finding the rules that act on one failure.
    pub match_p50_us: f64,
    pub match_p99_us: f64,
    /// The same by asking every rule.
    pub walk_us: f64,
    pub opened: u64,
    pub joined: u64,
    pub pages: usize,
    /// From the last failure until all were taken and all pages were out.
    pub lag_ms: f64,
    /// What the compiled rules take, and the highest above that under load.
    pub rules_mib: f64,
    pub peak_mib: f64,
}

impl EscalationFigures {
    /// For a person.
    pub fn line(&self) -> String {
        format!(
            "\n       {} rules, read in {:.0} ms and {:.1} MiB; matching p50 {:.1} µs p99 {:.1} µs ({:.0} µs by asking every \
             one); {} events opened, {} failures joined one, {} pages, all done {:.0} ms after the last failure; {:.1} MiB more \
             under load",
            self.rules,
            self.read_ms,
            self.rules_mib,
            self.match_p50_us,
            self.match_p99_us,
            self.walk_us,
            self.opened,
            self.joined,
            self.pages,
            self.lag_ms,
            self.peak_mib,
        )
    }
}

fn flow_name(no: usize) -> String {
    format!("failing-{no}")
}

/// The nth rule: the first hundred are about the flows that fail, and most of the others about something else.
fn rule(no: usize) -> Value {
    let page = json!({"action": "bench_page", "payload": {"sent_us": "{{ trigger.context.sent_us }}"}});
    let mut rule = json!({
        "rule_name": format!("rule-{no}"), "priority": 1 + no % 1_000, "dedup_key": "trigger.context.group",
        "trigger_conditions": "trigger.reason in ['execution_failed', 'run_failed']",
        "escalation_levels": [{"level": 1, "actions": [page]}],
    });
    match no {
        no if no < FLOWS => rule["applies_to_flows"] = json!([flow_name(no)]),
        no if no < FLOWS + UNFILTERED => {
            rule["trigger_conditions"] = json!(format!("trigger.flow_name == 'other-{no}'"));
        }
        no => match no % 3 {
            0 => rule["applies_to_flows"] = json!([format!("other-{no}")]),
            1 => rule["applies_to_integrations"] = json!([format!("service-{no}")]),
            _ => rule["applies_to_action_types"] = json!([format!("action-{no}")]),
        },
    }
    rule
}

/// The workload.
pub async fn escalations(installation: &impl Installation, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let pager = Arc::new(Pager::new("bench_page"));
    let options = NodeOptions { executors: vec![pager.clone()], ..NodeOptions::default() };
    let node = installation.start(options).await?;
    let engine = &node.engine;
    say(&format!("{RULES} rules are saved"));
    futures_util::stream::iter(0..RULES)
        .map(|no| save_rule(engine, no))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let fails = json!([{"id": "no", "type": "raise", "config": {"error": "no", "message": "no"}}]);
    let mut flows = Vec::with_capacity(FLOWS);
    for no in 0..FLOWS {
        flows.push(save_flow(engine, &flow_name(no), "manual", fails.clone()).await?);
    }
    let matching = matching(engine).await?;
    say(&format!("{FAILURES_PER_SECOND} failures a second for {} s", plan.seconds));
    let (before, peak, meter) = (batches(engine), Peak::begin()?, Meter::now());
    let count = fail(engine, &flows.into(), &pager, plan.seconds).await?;
    let loaded = meter.since();
    let last = Instant::now();
    ended(engine, count).await?;
    taken(engine, &pager).await?;
    let (lag, peak_bytes) = (last.elapsed(), peak.bytes());
    let mut figures = with_batches(
        Figures::of(Workload::Escalations, installation, "failures", count, meter.since()),
        engine,
        before,
    );
    figures.per_second = count as f64 / loaded.seconds;
    let taken = engine.runtime().counters.failures_taken.each_ref().map(|count| count.load(Ordering::Relaxed));
    let begun = pager.latencies();
    let escalations = EscalationFigures {
        opened: taken[0],
        joined: taken[1],
        pages: begun.len(),
        lag_ms: lag.as_secs_f64() * 1_000.0,
        peak_mib: mib(peak_bytes),
        ..matching
    };
    (node.stop)().await;
    Ok(Figures { latency: Some(Latency::of(begun)), escalations: Some(escalations), ..figures })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn save_rule(engine: &Engine, no: usize) -> anyhow::Result<()> {
    let document = RuleDocument::from_value(rule(no))?;
    engine.save_rule(None, RuleDraft { owner: owner(), document, by: "bench".to_owned() }).await?;
    Ok(())
}

/// What finding the rules of a failure costs by itself.
async fn matching(engine: &Engine) -> anyhow::Result<EscalationFigures> {
    let (memory, started) = (resident_bytes(), Instant::now());
    let rules = engine.escalations()?.rules(owner().tenant).await?;
    let read = started.elapsed();
    let rules_mib = mib(resident_bytes().saturating_sub(memory));
    let failures: Vec<Failure> = (0..FLOWS)
        .map(|no| {
            let context = json!({"flow_name": flow_name(no), "action_type": "raise", "error": "no", "urgency": "high",
                "context": {"n": no, "group": "0", "text": "x".repeat(200)}});
            Failure::described(EscalationReason::ExecutionFailed, Arc::new(context), 0)
        })
        .collect();
    let mut costs = Vec::with_capacity(MATCHES);
    for failure in failures.iter().cycle().take(MATCHES) {
        let started = Instant::now();
        let acting = rules.set.acting(failure, &owner());
        costs.push(started.elapsed());
        if acting.len() != 1 {
            bail!("{} rules act on a failure of {:?}", acting.len(), failure.flow_name);
        }
    }
    let started = Instant::now();
    for failure in failures.iter().cycle().take(WALKS) {
        if ask(rules.set.rules(), failure, &owner()).len() != rules.set.rules().len() {
            bail!("not every rule was asked");
        }
    }
    let walk_us = started.elapsed().as_secs_f64() * 1e6 / WALKS as f64;
    let costs = Latency::of(costs);
    Ok(EscalationFigures {
        rules: rules.set.rules().len(),
        read_ms: read.as_secs_f64() * 1_000.0,
        match_p50_us: costs.p50_ms * 1_000.0,
        match_p99_us: costs.p99_ms * 1_000.0,
        walk_us,
        opened: 0,
        joined: 0,
        pages: 0,
        lag_ms: 0.0,
        rules_mib,
        peak_mib: 0.0,
    })
}

/// Has so many runs fail a second, the flows in turn. Gives how many were accepted.
async fn fail(engine: &Engine, flows: &Arc<[FlowId]>, pager: &Arc<Pager>, seconds: u64) -> anyhow::Result<u64> {
    let (count, mut beat) = (seconds * FAILURES_PER_SECOND, tokio::time::interval(BEAT));
    let a_beat = FAILURES_PER_SECOND * BEAT.as_millis() as u64 / 1_000;
    let mut tasks = Vec::with_capacity(count as usize);
    for n in 0..count {
        if n % a_beat == 0 {
            beat.tick().await;
        }
        let (engine, flows, sent_us) = (engine.clone(), flows.clone(), pager.now_us());
        tasks.push(tokio::spawn(async move {
            let group = (n / FAILURES_PER_SECOND).to_string();
            let context = json!({"n": n, "group": group, "sent_us": sent_us, "text": "x".repeat(200)});
            let trigger = Trigger { context: Arc::new(context), ..trigger(flows[n as usize % flows.len()], n) };
            loop {
                match engine.trigger(trigger.clone()).await {
                    Ok(_) => return Ok(()),
                    Err(TriggerError::Busy { .. }) => tokio::time::sleep(BEAT).await,
                    Err(error) => return Err(error),
                }
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count)
}

/// Waits until every failure was taken and every event has paged.
async fn taken(engine: &Engine, pager: &Pager) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let left = engine.runtime().store.occurrences(None, 1).await?;
        let opened = engine.runtime().counters.failures_taken[0].load(Ordering::Relaxed);
        if left.is_empty() && pager.count() as u64 >= opened {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?} failures wait to be taken, or {} of {opened} events have paged", pager.count());
        }
        tokio::time::sleep(BEAT).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use core314_domain::escalation::{Rule, RuleSet};
    use core314_domain::ids::RowId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_flow_that_fails_has_one_rule() -> anyhow::Result<()> {
        let compiled = (0..FLOWS + UNFILTERED + 300).map(|no| {
            let document = RuleDocument::from_value(rule(no)).context("a document")?;
            Rule::compile(RowId(Uuid::from_u128(no as u128)), document)
                .map(Arc::new)
                .map_err(|p| anyhow::anyhow!("{p:?}"))
        });
        let set = RuleSet::new(compiled.collect::<Result<_, _>>()?);
        for no in 0..FLOWS {
            let context = json!({"flow_name": flow_name(no), "context": {"group": "0"}});
            let failure = Failure::described(EscalationReason::RunFailed, Arc::new(context), 0);
            let acting = set.acting(&failure, &owner());
            assert_eq!(
                acting.iter().map(|rule| rule.document.rule_name.clone()).collect::<Vec<_>>(),
                [format!("rule-{no}")]
            );
        }
        Ok(())
    }
}
