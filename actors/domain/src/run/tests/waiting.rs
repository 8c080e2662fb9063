//! Waiting: for retries, times, people, a resume; and being too late.

use super::kinds::{kind, output, reload, status};
use super::*;

#[test]
fn a_retry_waits_for_its_backoff_and_for_the_servers_wish() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    bench.fails_for_now(0, None);
    assert_eq!(
        (bench.letters().as_str(), bench.timing(None)),
        ("RB", Timing { queue_key: None, wake_at_ms: Some(2_000) })
    );
    assert!(!bench.log[0].is_final);
    assert!(started(&bench.at(1_999, &Command::Wake)).is_empty());
    assert!(started(&bench.tell(&Command::Start { steps: vec![0] })).is_empty(), "no slot makes it due");
    assert_eq!(started(&bench.at(2_000, &Command::Wake)), [(0, 1)]);
    bench.fails_for_now(0, Some(30_000));
    assert_eq!(bench.timing(None).wake_at_ms, Some(32_000), "later than the backoff of 4 s");
    bench.at(32_000, &Command::Wake);
    bench.fails_for_now(0, None);
    assert_eq!(
        (bench.letters().as_str(), bench.run.state.status),
        ("FX", RunStatus::Failed),
        "three attempts are three"
    );
    assert_eq!(
        bench.log.iter().map(|e| (e.attempt, e.is_final)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, true)]
    );
    assert_eq!(bench.error(), "step 'a': later");
}

#[test]
fn a_retry_without_backoff_starts_in_the_same_decision() {
    let at_once = json!({"retry_policy": {"max_attempts": 3, "backoff_seconds": 0.0}});
    let mut bench = Bench::begun(flow("sequential", &two(), at_once));
    assert_eq!(started(&bench.fails_for_now(0, None)), [(0, 1)]);
    bench.slots = 0;
    assert_eq!(queued(&bench.fails_for_now(0, None)), [0]);
}

#[test]
fn no_retry_starts_past_the_policys_deadline() {
    let policy = json!({"retry": {"max_attempts": 9, "backoff_seconds": 6.0, "multiplier": 1.0, "jitter": "none", "deadline_seconds": 10.0}});
    let mut bench = Bench::begun(flow("sequential", &[step("a", policy)], json!({})));
    bench.fails_for_now(0, None);
    bench.at(6_000, &Command::Wake);
    bench.fails_for_now(0, None);
    assert_eq!((bench.letters().as_str(), bench.log.len()), ("F", 2), "the next would be at 12 s");
}

#[test]
fn a_schedule_is_kept_and_any_decision_keeps_it() {
    let later = step("a", json!({"config": {"scheduled_for": "{{ trigger.later }}"}}));
    let mut bench = Bench::begun(flow("parallel", &[later, step("b", json!({}))], json!({})));
    assert_eq!((bench.letters().as_str(), bench.timing(None).wake_at_ms), ("PI", Some(60_000)));
    assert!(started(&bench.tell(&Command::Start { steps: vec![0] })).is_empty());
    bench.now_ms = 60_000;
    let end = bench.completes(1);
    assert_eq!(started(&end), [(0, 0)], "the timer has not rung yet, and need not");
    assert_eq!(bench.timing(None).wake_at_ms, None);
}

#[test]
fn an_entry_that_was_due_starts_although_the_clock_was_set_back() {
    let mut bench = Bench::new(flow("parallel", &two(), json!({})));
    bench.slots = 0;
    bench.at(5_000, &Command::Begin);
    bench.slots = 2;
    bench.now_ms = 4_000;
    let decision = bench.decide(&Command::Start { steps: vec![0, 1] }).unwrap();
    assert_eq!(started(&decision), [(0, 0), (1, 0)]);
}

#[test]
fn what_has_expired_never_starts() {
    let expires = |more: Value| {
        let mut step = step(
            "a",
            json!({"config": {"expires_in_seconds": 60}, "retry": {"max_attempts": 9, "backoff_seconds": 60.0, "jitter": "none"}}),
        );
        merge_patch(&mut step, &more);
        flow("parallel", &[step], json!({}))
    };
    let mut waits_for_a_slot = Bench::new(expires(json!({})));
    waits_for_a_slot.slots = 0;
    waits_for_a_slot.tell(&Command::Begin);
    assert_eq!(waits_for_a_slot.timing(None).wake_at_ms, Some(60_000));
    waits_for_a_slot.slots = 1;
    waits_for_a_slot.at(60_000, &Command::Start { steps: vec![0] });
    let mut waits_for_a_person = Bench::begun(expires(json!({"requires_approval": true})));
    waits_for_a_person.now_ms = 60_000;
    let refusal = waits_for_a_person.decide(&Command::Approve { step: Some(0), by: person() }).unwrap_err();
    assert_eq!(refusal, Refusal::NotAwaitingApproval(0, ExecutionStatus::Expired));
    waits_for_a_person.tell(&Command::Wake);
    let mut waits_for_its_time = Bench::begun(expires(json!({"config": {"scheduled_for": "2000-01-01T00:00:00Z"}})));
    waits_for_its_time.at(60_000, &Command::Wake);
    let mut waits_for_its_retry = Bench::begun(expires(json!({})));
    waits_for_its_retry.fails_for_now(0, None);
    waits_for_its_retry.at(60_000, &Command::Wake);
    for bench in [waits_for_a_slot, waits_for_a_person, waits_for_its_time, waits_for_its_retry] {
        assert_eq!((bench.letters().as_str(), bench.run.state.status), ("E", RunStatus::Failed));
        assert_eq!(bench.error(), "step 'a': it expired before it could start");
        assert_eq!(bench.run.results["a"].status, "expired");
    }
}

#[test]
fn a_run_waits_for_its_approval() {
    let asks = || Bench::begun(flow("sequential", &two(), json!({"requires_approval": true})));
    let mut bench = asks();
    assert_eq!((bench.run.state.status, bench.letters()), (RunStatus::AwaitingApproval, "BB".to_owned()));
    assert_eq!(bench.timing(None), Timing::default());
    let yes = bench.at(900, &Command::Approve { step: None, by: person() });
    assert_eq!(yes.changes[0], Change::ApprovalDecided { step: None, approved: true, by: BY, form: Json::default() });
    assert_eq!((started(&yes), bench.run.state.started_at_ms), (vec![(0, 0)], Some(900)));
    let again = bench.decide(&Command::Approve { step: None, by: person() }).unwrap_err();
    assert_eq!(again.to_string(), "the run is running: it does not wait for an approval");
    let mut bench = asks();
    bench.tell(&Command::Reject { step: None, by: person() });
    assert_eq!(
        (bench.run.state.status, bench.letters(), bench.error()),
        (RunStatus::Cancelled, "XX".to_owned(), "a person refused the run")
    );
}

#[test]
fn a_step_waits_for_its_approval() {
    let asks = |more: Value| {
        let mut asks = step("b", json!({"requires_approval": true}));
        merge_patch(&mut asks, &more);
        let mut bench =
            Bench::begun(flow("sequential", &[step("a", json!({})), asks, step("c", json!({}))], json!({})));
        bench.completes(0);
        bench
    };
    let mut bench = asks(json!({}));
    assert_eq!(bench.letters(), "CAB");
    assert_eq!(started(&bench.tell(&Command::Approve { step: Some(1), by: person() })), [(1, 0)]);
    let mut bench = asks(json!({"config": {"scheduled_for": "{{ trigger.later }}"}}));
    assert!(started(&bench.tell(&Command::Approve { step: Some(1), by: person() })).is_empty(), "it is not due");
    assert_eq!((bench.letters().as_str(), bench.timing(None).wake_at_ms), ("CPB", Some(60_000)));
    let mut bench = asks(json!({}));
    bench.tell(&Command::Reject { step: Some(1), by: person() });
    assert_eq!((bench.letters().as_str(), bench.error()), ("CNX", "step 'b': a person refused it"));
    let mut bench = asks(json!({"on_error": "continue"}));
    bench.tell(&Command::Reject { step: Some(1), by: person() });
    assert_eq!(bench.letters(), "CNI");
    for (step, refusal) in [
        (Some(0), Refusal::NotAwaitingApproval(0, ExecutionStatus::Completed)),
        (Some(2), Refusal::NotAwaitingApproval(2, ExecutionStatus::Blocked)),
        (Some(9), Refusal::NoSuchStep(9)),
        (None, Refusal::RunNotNow(RunStatus::Running, "it does not wait for an approval")),
    ] {
        assert_eq!(asks(json!({})).decide(&Command::Reject { step, by: person() }).unwrap_err(), refusal);
    }
}

#[test]
fn the_deadline_ends_what_runs_and_what_waits() {
    let one_minute = json!({"max_execution_time_seconds": 60});
    let mut bench = Bench::begun(flow("sequential", &two(), one_minute.clone()));
    assert_eq!(bench.timing(None).wake_at_ms, Some(60_000));
    let late = bench.at(60_000, &Command::Wake);
    assert_eq!((told_to_end(&late), bench.letters().as_str()), (vec![(0, 0)], "IX"));
    assert_eq!(bench.timing(None).wake_at_ms, None, "it only waits for the attempt");
    assert!(bench.tell(&Command::Cancel { reason: "enough".into() }).changes.is_empty(), "it has timed out already");
    bench.ends(0, Outcome::Cancelled);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("XX", RunStatus::TimedOut));
    assert_eq!(bench.error(), "the run's deadline (max_execution_time_seconds) passed");
    let mut bench = Bench::begun(flow("sequential", &two(), one_minute.clone()));
    bench.now_ms = 60_000;
    assert!(started(&bench.completes(0)).is_empty(), "nothing starts late, whoever is first");
    bench.tell(&Command::Wake);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("CX", RunStatus::TimedOut));
    let mut bench = Bench::new(flow("sequential", &two(), one_minute));
    bench.run.plan = Arc::new(FlowPlan { requires_approval: true, ..Arc::into_inner(bench.run.plan).unwrap() });
    bench.tell(&Command::Begin);
    bench.at(60_000, &Command::Wake);
    assert_eq!(bench.run.state.status, RunStatus::TimedOut, "nobody approved it in time");
}

#[test]
fn a_paused_run_lets_attempts_end_and_starts_nothing() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    bench.tell(&Command::Pause { by: "user:1".into() });
    assert!(bench.completes(0).effects.is_empty());
    assert_eq!((bench.letters().as_str(), bench.timing(None)), ("CP", Timing::default()));
    assert!(bench.tell(&Command::Wake).effects.is_empty());
    let twice = bench.decide(&Command::Pause { by: "user:1".into() }).unwrap_err();
    assert_eq!(twice.to_string(), "the run is paused: only a run that runs, or has yet to begin, can be paused");
    assert_eq!(started(&bench.tell(&Command::Resume)), [(1, 0)]);
    let resumed = bench.decide(&Command::Resume).unwrap_err();
    assert_eq!(resumed.to_string(), "the run is running: only a paused run can be resumed");
}

#[test]
fn a_run_that_is_paused_before_it_begins_asks_for_its_turn_once_it_is_resumed() {
    let mut bench = Bench::new(flow("sequential", &two(), json!({})));
    let pause = Command::Pause { by: "user:1".into() };
    bench.tell(&pause);
    let saved = bench.run.save();
    assert_eq!(saved.state, r#"{"v":5,"s":"BB","p":"user:1","q":true}"#);
    assert_eq!(RunState::load(&saved).as_ref(), Ok(&bench.run.state));
    assert_eq!(bench.run.why(0)[0].code, Waiting::Paused);
    assert_eq!(bench.tell(&Command::Begin).changes, [Change::RunStepsAside], "its turn has come too late: it leaves");
    assert_eq!(bench.run.state.status, RunStatus::Paused);
    assert!(bench.decide(&Command::Retry { step: None }).is_err(), "there is nothing to take up again");
    let resumed = bench.decide(&Command::Resume).unwrap();
    assert_eq!(resumed.changes, [Change::RunLinesUp]);
    bench.run.apply(&resumed);
    assert_eq!((bench.run.state.status, bench.run.state.started_at_ms), (RunStatus::Pending, None));
    assert_eq!(started(&bench.tell(&Command::Begin)), [(0, 0)]);

    // The same of one that was taken up again and waits for a place.
    bench.fails(0);
    let held = bench.decide(&Command::RetryHeld { step: None }).unwrap();
    bench.run.apply(&held);
    bench.tell(&pause);
    assert!(bench.tell(&Command::Begin).effects.is_empty());
    let resumed = bench.decide(&Command::Resume).unwrap();
    bench.run.apply(&resumed);
    assert_eq!(bench.run.state.status, RunStatus::Pending);
    assert_eq!(started(&bench.tell(&Command::Begin)), [(0, 1)]);
    bench.completes(0);
    bench.completes(1);
    assert_eq!(bench.run.state.status, RunStatus::Completed);
}

#[test]
fn an_entry_that_came_up_during_a_pause_is_queued_again() {
    let mut bench = Bench::new(flow("parallel", &two(), json!({})));
    bench.slots = 0;
    bench.tell(&Command::Begin);
    bench.tell(&Command::Pause { by: "user:1".into() });
    bench.slots = 1;
    let start = bench.tell(&Command::Start { steps: vec![0] });
    assert_eq!((start.effects.len(), start.unused_slots), (0, 1));
    bench.slots = 0;
    assert_eq!(queued(&bench.tell(&Command::Resume)), [0, 1]);
}

#[test]
fn the_queue_key_stays_from_step_to_step() {
    let steps = [
        step("a", json!({"config": {"urgency": "low"}})),
        step("b", json!({"config": {"urgency": "critical"}})),
        step("c", json!({"config": {"scheduled_for": "1970-01-01T01:00:00Z"}})),
        step("d", json!({"requires_approval": true})),
    ];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    let first = bench.timing(None).queue_key;
    assert_eq!(first, Some(Credits::default().order(0, crate::words::Urgency::Low, 5)));
    bench.now_ms = 10_000;
    bench.completes(0);
    assert_eq!(bench.timing(first).queue_key, first, "another key would cost two index entries");
    assert_ne!(bench.timing(None).queue_key, first);
    bench.completes(1);
    assert_eq!(
        bench.timing(first),
        Timing { queue_key: None, wake_at_ms: Some(3_600_000) },
        "nothing is left to do for now"
    );
    bench.at(3_600_000, &Command::Wake);
    assert!(bench.timing(None).queue_key.is_some_and(|key| Some(key) > first));
    bench.completes(2);
    assert_eq!(bench.timing(None), Timing::default(), "it waits for a person");
}

#[test]
fn a_signal_that_is_told_again_under_its_name_counts_once() {
    let signal = |key: &str, payload: u32| {
        let request = RequestName { key: key.into(), body: payload.to_string().into() };
        Command::Signal { name: "go".into(), payload: Arc::new(json!(payload)), request: Some(request) }
    };
    let wait = |id: &str| kind(id, "wait", json!({"signal": "go"}));
    let mut bench = Bench::begun(flow("sequential", &[wait("a"), wait("b")], json!({})));
    bench.tell(&signal("k1", 1));
    reload(&mut bench);
    bench.tell(&signal("k1", 1));
    assert_eq!((bench.letters(), bench.run.state.signals.len()), ("CW".to_owned(), 0), "the second step waits on");
    assert_eq!(bench.decide(&signal("k1", 2)).unwrap_err(), Refusal::KeyReused);
    bench.tell(&signal("k2", 2));
    assert_eq!((status(&bench), output(&bench, "b")["payload"].clone()), (RunStatus::Completed, json!(2)));
    bench.tell(&signal("k2", 2));
    assert!(matches!(bench.decide(&signal("k3", 3)), Err(Refusal::Ended(_))), "it is over for what is new");
}
