//! Triggers that become one run: the last of many, or all of them; whatever dies meanwhile, each is in one run.

use std::collections::BTreeMap;

use super::*;

const HOST: &str = "web-1";

fn numbered(flow: FlowId, n: usize, name: Option<String>) -> Trigger {
    let idempotency = name.map(|key| IdempotencyRequest { key, body_hash: [0; 32] });
    Trigger { context: Arc::new(json!({"key": HOST, "n": n})), idempotency, ..trigger(flow, HOST) }
}

/// The contexts of all runs, by their run.
fn contexts(world: &World) -> BTreeMap<RunId, Value> {
    let rows = world.store.snapshot();
    rows.runs.iter().map(|(id, run)| (*id, (*run.header.trigger_context).clone())).collect()
}

/// The numbers that a run has gathered.
fn numbers(context: &Value) -> Vec<u64> {
    let events = context["events"].as_array().expect("a batch");
    assert_eq!(context["count"], events.len());
    events.iter().map(|event| event["n"].as_u64().expect("a number")).collect()
}

#[test]
fn many_triggers_become_one_run_with_the_last_of_them() {
    let clock = Arc::new(TestClock::at(1_000_000));
    let world = World::new(clock.clone());
    let limits = json!({"debounce": {"key": "trigger.key", "period_seconds": 10, "max_seconds": 25}});
    let flow = world.flow(1, &limits, &json!({}));
    let engine = world.start();
    let send = |n| match world.io.block_on(engine.trigger(numbered(flow, n, None))).expect("taken") {
        Triggered::Accepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    };
    let first = send(0);
    clock.advance(9_000);
    let second = send(1);
    assert_eq!((second.run, &second.executions), (first.run, &first.executions), "it joins the same run");
    let (status, reasons) = world.io.block_on(engine.why(Scope::Platform, first.run)).expect("it is there");
    assert_eq!(
        (status, reasons[0].code, reasons[0].wakes_at_ms),
        (RunStatus::Pending, Waiting::Limit, Some(1_019_000))
    );
    assert_eq!(reasons[0].held_by, [format!("debounce:{HOST}")]);
    assert!(reasons[0].message.contains("2 so far"), "{}", reasons[0].message);
    world.stop(&engine);

    // Another node goes on where this one was: with its count, and with the bound of the first trigger.
    let next = world.start();
    clock.advance(9_000);
    let third = world.io.block_on(next.trigger(numbered(flow, 2, None))).expect("taken");
    assert!(matches!(&third, Triggered::Accepted(joined) if joined.run == first.run), "{third:?}");
    let (_, reasons) = world.io.block_on(next.why(Scope::Platform, first.run)).expect("it is there");
    assert_eq!(reasons[0].wakes_at_ms, Some(1_025_000), "25 seconds after the first, however many come");
    clock.advance(7_000);
    // Whatever is heard makes the partition look at its clock.
    let _ = world.io.block_on(next.why(Scope::Platform, first.run));
    world.until_status(first.run, RunStatus::Completed);
    assert_eq!(contexts(&world), BTreeMap::from([(first.run, json!({"key": HOST, "n": 2}))]));
    let rows = world.store.snapshot();
    assert!(rows.brought.is_empty() && rows.limited.is_empty(), "nothing is left behind");
    world.stop(&next);
}

#[test]
fn a_batch_begins_when_it_is_full_or_its_time_is_over() {
    let clock = Arc::new(TestClock::at(1_000_000));
    let world = World::new(clock.clone());
    let limits = json!({"batch": {"max": 3, "timeout_seconds": 60}, "concurrency": {"max": 1}});
    let flow = world.flow(1, &limits, &json!({}));
    let document = json!({
        "flow_name": "of-a-batch", "trigger_type": "manual", "limits": limits, "max_execution_time_seconds": 30,
        "flow_steps": [{"id": "a", "config": {"action_type": "turnstile",
            "action_payload": {"key": "{{ trigger.events[0].n }} of {{ trigger.count }}"}}}],
    });
    let whole = FlowId(Uuid::from_u128(2));
    world.store.add_flow(whole, owner(), FlowDocument::from_value(document).expect("a flow"));
    let engine = world.start();
    let mut runs = Vec::new();
    for n in 0..7 {
        let taken = world.io.block_on(engine.trigger(numbered(whole, n, Some(format!("t-{n}"))))).expect("taken");
        let Triggered::Accepted(accepted) = taken else { panic!("not accepted: {taken:?}") };
        runs.push(accepted.run);
    }
    assert!(runs[0] == runs[2] && runs[2] != runs[3] && runs[3] == runs[5] && runs[5] != runs[6], "{runs:?}");
    world.until_status(runs[0], RunStatus::Completed);
    world.until_status(runs[3], RunStatus::Completed);
    assert_eq!(world.status(runs[6]), RunStatus::Pending);
    // A request that is repeated finds the run that it joined, and is counted once.
    let again = world.io.block_on(engine.trigger(numbered(whole, 6, Some("t-6".to_owned())))).expect("taken");
    assert!(matches!(&again, Triggered::Repeated(known) if known.run == runs[6]), "{again:?}");
    let again = world.io.block_on(engine.trigger(numbered(whole, 4, Some("t-4".to_owned())))).expect("taken");
    assert!(matches!(&again, Triggered::Repeated(known) if known.run == runs[4]), "{again:?}");
    clock.advance(60_000);
    let _ = world.io.block_on(engine.why(Scope::Platform, runs[6]));
    world.until_status(runs[6], RunStatus::Completed);
    let all = contexts(&world);
    let gathered: Vec<Vec<u64>> = [runs[0], runs[3], runs[6]].iter().map(|run| numbers(&all[run])).collect();
    assert_eq!(gathered, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!(world.store.snapshot().runs[&runs[6]].header.deadline_at_ms, Some(1_090_000), "from its start on");
    assert_eq!(world.turnstile.most().keys().collect::<Vec<_>>(), ["\"0 of 3\"", "\"3 of 3\"", "\"6 of 1\""]);

    // What is restarted has been gathered already.
    let restart = core314_actors::engine::Restart { by: "user:7".to_owned(), idempotency: None };
    let restarted = world.io.block_on(engine.restart(Scope::Platform, runs[0], restart)).expect("taken");
    let Triggered::Accepted(restarted) = restarted else { panic!("not accepted: {restarted:?}") };
    world.until_status(restarted.run, RunStatus::Completed);
    assert_eq!(numbers(&contexts(&world)[&restarted.run]), [0, 1, 2]);

    // A run that gathers can be cancelled; who comes after it makes another. A name of one of many is refused.
    let gathering = world.trigger(&engine, flow, HOST).expect("accepted");
    world.tell(&engine, gathering, Command::Cancel { reason: "not now".to_owned() });
    world.until_status(gathering, RunStatus::Cancelled);
    assert_ne!(world.trigger(&engine, flow, HOST).expect("accepted"), gathering);
    let key =
        core314_actors::ingress::RunKey { key: "k".into(), on_conflict: core314_actors::ingress::OnConflict::Return };
    let named = world.io.block_on(engine.trigger(Trigger { run_key: Some(key), ..trigger(flow, HOST) }));
    assert!(matches!(&named, Err(TriggerError::LimitKey { message, .. }) if message.contains("run_key")), "{named:?}");
    world.stop(&engine);
}

#[test]
fn every_trigger_is_in_exactly_one_run_though_partitions_die_and_commits_are_lost() {
    const TRIGGERS: usize = 2_000;
    const MAX: usize = 7;
    let world = World::new(Arc::new(SystemClock::default()));
    let limits = json!({"batch": {"max": MAX, "timeout_seconds": 1}});
    let flow = world.flow(1, &limits, &json!({}));
    let document = json!({
        "flow_name": "all-of-them", "trigger_type": "manual", "limits": limits,
        "flow_steps": [{"id": "a", "config": {"action_type": "turnstile", "action_payload": {"key": "x"}}}],
    });
    world.store.add_flow(flow, owner(), FlowDocument::from_value(document).expect("a flow"));
    let engine = world.start();
    let triggers: Vec<Trigger> = (0..TRIGGERS).map(|n| numbered(flow, n, Some(format!("t-{n}")))).collect();
    for (round, batch) in triggers.chunks(100).enumerate() {
        let mut open = batch.to_vec();
        World::until("the batch is taken", || {
            let answers = world.io.block_on(engine.trigger_all(open.clone())).ok()?;
            let taken = answers.iter().map(Result::is_ok);
            open = open.drain(..).zip(taken).filter(|(_, taken)| !taken).map(|(trigger, _)| trigger).collect();
            open.is_empty().then_some(())
        });
        for partition in 0..4 {
            engine.restart_actor(&format!("core314/partitions/partition-{partition:02}")).expect("it is there");
        }
        if round % 2 == 0 {
            world.store.lose_before(1);
        } else {
            world.store.lose_after(1);
        }
    }
    let ended = |rows: &Rows| !rows.runs.is_empty() && all_ended(rows);
    World::until("all runs have ended", || Some(world.store.snapshot()).filter(ended));
    let all = contexts(&world);
    let mut seen: Vec<u64> = all.values().flat_map(numbers).collect();
    assert!(all.values().all(|context| numbers(context).len() <= MAX), "no batch is too large");
    seen.sort_unstable();
    assert_eq!(seen, (0..TRIGGERS as u64).collect::<Vec<_>>(), "each once");
    let rows = world.store.snapshot();
    assert!(rows.brought.is_empty() && rows.limited.is_empty(), "nothing is left behind");
    world.stop(&engine);
}
