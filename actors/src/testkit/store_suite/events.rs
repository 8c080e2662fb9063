//! What every store must do with events and those who wait for them.

use std::sync::Arc;

use core314_domain::ids::{RowId, StepNo, TenantId};
use serde_json::json;

use super::samples::{NOW_MS, Samples};
use super::{commit, commit_run, take};
use crate::ports::event::{DeliveryPlace, NewEvent};
use crate::ports::signal::SignalWrite;
use crate::ports::store::{Outcome, RunWrite, Store, WaitWrite, Write};

const DONE: Outcome = Outcome::Committed { log_seq: None };

fn event(samples: &mut Samples, tenant: TenantId, name: &str, at_ms: i64) -> NewEvent {
    NewEvent {
        id: RowId::new(at_ms, samples.row_id().0.as_u128()),
        tenant,
        kind: "order.paid".to_owned(),
        key: "4711".to_owned(),
        name: name.to_owned(),
        event: Arc::new(json!({"subject": "4711", "name": name})),
        at_ms,
        oldest_ms: at_ms - 1_000,
        most: 3,
    }
}

fn opened(step: StepNo, since_ms: i64) -> WaitWrite {
    WaitWrite::Opened { step, kind: "order.paid".into(), key: "4711".to_owned(), since_ms, but: Some("own".to_owned()) }
}

async fn keep(store: &dyn Store, new: &NewEvent) -> RowId {
    assert_eq!(commit(store, vec![Write::Signal(Box::new(SignalWrite::Event(new.clone())))]).await, [DONE]);
    new.id
}

/// Who is to be told of what, in order.
async fn told(store: &dyn Store) -> Vec<DeliveryPlace> {
    let all = store.event_deliveries(None, 100).await.expect("reads");
    for delivery in &all {
        assert_eq!(delivery.content["subject"], "4711", "a delivery brings its event");
    }
    all.iter().map(crate::ports::event::EventDelivery::place).collect()
}

/// The next change of a run, with nothing but these of its waits.
fn next(run: &RunWrite, version: i64, waits: Vec<WaitWrite>) -> RunWrite {
    let mut next = RunWrite { expected_version: version, accept: None, audit: Vec::new(), waits, ..run.clone() };
    next.approvals.clear();
    next
}

/// An event and a wait for it meet, whichever comes first; each event goes to each wait once, and never to two of a run
/// one after the other.
pub async fn events_and_waits_meet(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(61);
    let run = RunWrite { waits: vec![opened(4, NOW_MS)], ..samples.accept(2, epoch) };
    let (tenant, id) = (run.tenant, run.id);
    commit_run(store, &run).await;
    let first = keep(store, &event(&mut samples, tenant, "first", NOW_MS)).await;
    assert_eq!(told(store).await, [(first, id, 4)]);
    let page = store.event_deliveries(None, 1).await.expect("reads");
    assert_eq!(page[0].partition, 2);
    assert!(store.event_deliveries(Some((first, id, 4)), 1).await.expect("reads").is_empty());

    // The same once more, one of another tenant, and one with another key are nothing to it.
    keep(store, &event(&mut samples, tenant, "first", NOW_MS)).await;
    let stranger = samples.owner().tenant;
    keep(store, &event(&mut samples, stranger, "other", NOW_MS)).await;
    let elsewhere = NewEvent { key: "4712".to_owned(), ..event(&mut samples, tenant, "else", NOW_MS) };
    keep(store, &elsewhere).await;
    assert_eq!(told(store).await, [(first, id, 4)]);

    // It takes the first; a later wait of it is told of what came in between and not of the first, nor of what came
    // before the run or started it.
    let taken = WaitWrite::Closed { step: 4, taken: Some(first) };
    commit_run(store, &next(&run, 1, vec![taken])).await;
    assert_eq!(told(store).await, []);
    let second = keep(store, &event(&mut samples, tenant, "second", NOW_MS + 1)).await;
    keep(store, &event(&mut samples, tenant, "own", NOW_MS + 1)).await;
    commit_run(store, &next(&run, 2, vec![opened(5, NOW_MS), opened(6, NOW_MS + 2)])).await;
    assert_eq!(told(store).await, [(second, id, 5)]);

    // Heard, and not taken: it is not told of again.
    let heard = || Write::Signal(Box::new(SignalWrite::EventTold((second, id, 5))));
    assert_eq!(commit(store, vec![heard(), heard()]).await, [DONE, DONE]);
    assert_eq!(told(store).await, []);
    let third = keep(store, &event(&mut samples, tenant, "third", NOW_MS + 2)).await;
    assert_eq!(told(store).await, [(third, id, 5), (third, id, 6)]);
    commit_run(store, &next(&run, 3, vec![opened(7, NOW_MS), WaitWrite::Over])).await;
    assert_eq!(told(store).await, [], "a run that has ended is told nothing");
    keep(store, &event(&mut samples, tenant, "fourth", NOW_MS + 3)).await;
    assert_eq!(told(store).await, []);
}

/// Old events go, and of one type and key all but the newest; one that somebody is yet to be told of stays.
pub async fn events_are_kept_for_a_while(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(62);
    let run = RunWrite { waits: vec![opened(0, NOW_MS)], ..samples.accept(0, epoch) };
    let tenant = run.tenant;
    commit_run(store, &run).await;
    let waited = keep(store, &event(&mut samples, tenant, "waited", NOW_MS)).await;
    commit_run(store, &next(&run, 1, vec![WaitWrite::Closed { step: 0, taken: None }])).await;
    let mut kept = Vec::new();
    for no in 0..5 {
        kept.push(keep(store, &event(&mut samples, tenant, &format!("n{no}"), NOW_MS + no)).await);
    }
    assert_eq!(told(store).await, []);
    let events = |places: Vec<DeliveryPlace>| places.into_iter().map(|place| place.0).collect::<Vec<_>>();
    commit_run(store, &next(&run, 2, vec![opened(1, NOW_MS)])).await;
    let mut newest = kept[2..].to_vec();
    newest.sort();
    assert_eq!(events(told(store).await), newest, "the newest three, and not {waited}");
    let late = keep(store, &event(&mut samples, tenant, "late", NOW_MS + 10_000)).await;
    assert!(events(told(store).await).contains(&late));
    assert_eq!(told(store).await.len(), 4, "whoever is to be told is told, however old it is");
    commit_run(store, &next(&run, 3, vec![WaitWrite::Closed { step: 1, taken: Some(late) }])).await;
    let last = keep(store, &event(&mut samples, tenant, "last", NOW_MS + 10_000)).await;
    commit_run(store, &next(&run, 4, vec![opened(2, NOW_MS)])).await;
    assert_eq!(events(told(store).await), [last], "what is older than is kept is gone");
}
