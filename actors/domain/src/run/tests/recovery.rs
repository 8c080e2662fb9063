//! Being cut off: by a person, by a death, for good; and what of a run is stored.

use super::*;

fn parks() -> Value {
    flow("sequential", &[step("a", json!({"on_unknown_outcome": "park"})), step("b", json!({}))], json!({}))
}

#[test]
fn a_cancel_tells_attempts_to_end_and_waits_for_them() {
    let steps = [step("a", json!({})), step("b", json!({})), step("c", json!({"requires_approval": true}))];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    let cancel = Command::Cancel { reason: "enough".into() };
    assert_eq!(told_to_end(&bench.tell(&cancel)), [(0, 0), (1, 0)]);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("IIX", RunStatus::Running));
    assert!(bench.timing(None).queue_key.is_some(), "its attempts are under way");
    assert!(bench.tell(&cancel).changes.is_empty());
    bench.ends(0, Outcome::Cancelled);
    bench.completes(1);
    assert_eq!(
        (bench.letters().as_str(), bench.run.state.status, bench.error()),
        ("XCX", RunStatus::Cancelled, "enough")
    );
    assert_eq!(
        bench.log.iter().map(|e| e.status).collect::<Vec<_>>(),
        [ExecutionStatus::Cancelled, ExecutionStatus::Completed]
    );
    let mut bench = Bench::new(flow("parallel", &two(), json!({})));
    bench.tell(&cancel);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("XX", RunStatus::Cancelled), "before it began");
}

#[test]
fn a_failing_run_retries_nothing_and_can_be_cancelled() {
    let mut bench =
        Bench::begun(flow("parallel", &[step("a", json!({})), step("b", json!({})), step("c", json!({}))], json!({})));
    bench.fails(0);
    assert_eq!((bench.letters().as_str(), bench.run.state.closing), ("FII", Some(Closing::Failed)));
    bench.fails_for_now(1, None);
    assert_eq!(bench.letters(), "FFI");
    assert_eq!(told_to_end(&bench.tell(&Command::Cancel { reason: "now".into() })), [(2, 0)]);
    bench.ends(2, Outcome::Cancelled);
    assert_eq!((bench.run.state.status, bench.error()), (RunStatus::Cancelled, "now"));
}

#[test]
fn an_unknown_outcome_counts_as_an_attempt_and_is_tried_again() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    let died = Command::Recover { under_way: vec![] };
    for attempt in 1..3 {
        assert_eq!(
            started(&bench.at(i64::from(attempt) * 500, &died)),
            [(0, attempt)],
            "at once: the death was delay enough"
        );
    }
    let entry = &bench.log[0];
    assert_eq!((entry.failure.as_ref().map(|f| f.code.as_str()), entry.duration_ms), (Some("outcome_unknown"), None));
    assert_eq!((*entry.payload).clone(), json!({"host": "web-1"}), "as it was sent");
    assert!(entry.requires_review() && !entry.is_final);
    bench.tell(&died);
    assert_eq!((bench.letters().as_str(), bench.log.len(), bench.log[2].is_final), ("FX", 3, true));
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    assert!(bench.tell(&Command::Recover { under_way: vec![0] }).changes.is_empty(), "it is under way");
}

#[test]
fn an_unknown_outcome_can_wait_for_a_person() {
    let mut bench = Bench::begun(parks());
    let parked = bench.at(700, &Command::Recover { under_way: vec![] });
    assert!(parked.changes.contains(&Change::ApprovalRequested { step: Some(0) }) && parked.effects.is_empty());
    assert_eq!((bench.letters().as_str(), bench.log.len(), bench.log[0].is_final), ("AB", 1, false));
    let copy = bench.run.clone();
    assert_eq!(started(&bench.tell(&Command::Approve { step: Some(0), by: person() })), [(0, 1)]);
    bench.run = copy;
    bench.tell(&Command::Reject { step: Some(0), by: person() });
    assert_eq!((bench.letters().as_str(), bench.error()), ("NX", "step 'a': a person refused it"));
}

/// A run whose first step is looked after by a probe, which has just started: its attempt was cut off.
fn probing(retry: &Value) -> Bench {
    let verify = json!({"action_type": "noop", "action_payload": {"ask": 1}});
    let pays = step("a", json!({"on_unknown_outcome": "verify", "verify": verify, "retry": retry}));
    let mut bench = Bench::begun(flow("sequential", &[pays, step("b", json!({}))], json!({})));
    assert_eq!(started(&bench.tell(&Command::Recover { under_way: vec![] })), [(0, 1)]);
    bench
}

#[test]
fn a_probe_that_cannot_tell_is_made_again_as_the_policy_says_and_then_a_person_is_asked() {
    let mut bench = probing(&json!({"max_attempts": 3, "backoff_seconds": 10.0, "multiplier": 3.0, "jitter": "none"}));
    bench.fails_for_now(0, None);
    assert_eq!((bench.letters().as_str(), bench.timing(None).wake_at_ms), ("RB", Some(10_000)));
    let told = "probe 1 of 3 could not tell whether the attempt before took effect; the next one is due";
    assert_eq!(bench.run.why(0)[0].message, told);
    assert_eq!(RunState::load(&bench.run.save()).as_ref(), Ok(&bench.run.state), "the count survives");
    assert_eq!(started(&bench.at(10_000, &Command::Wake)), [(0, 2)]);
    bench.fails_for_now(0, None);
    assert_eq!(bench.timing(None).wake_at_ms, Some(40_000), "further apart each time");
    assert_eq!(started(&bench.at(40_000, &Command::Wake)), [(0, 3)]);
    let last = bench.fails_for_now(0, None);
    assert!(last.changes.contains(&Change::ApprovalRequested { step: Some(0) }), "{last:?}");
    assert_eq!((bench.letters().as_str(), bench.timing(None).wake_at_ms), ("AB", None));
    assert_eq!(bench.run.why(40_000)[0].code, Waiting::OutcomeUnknown);

    let mut refused = bench.run.clone();
    let again = bench.tell(&Command::Approve { step: Some(0), by: person() });
    let [Effect::StartAttempt { attempt: 4, part: PlanRef::Step(0), .. }] = &again.effects[..] else {
        panic!("{again:?}")
    };
    bench.completes(0);
    assert_eq!(bench.letters(), "CI");
    std::mem::swap(&mut bench.run, &mut refused);
    bench.log.truncate(4);
    bench.tell(&Command::Reject { step: Some(0), by: person() });
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("NX", RunStatus::Failed));
}

#[test]
fn a_probe_that_is_cut_off_itself_does_not_count() {
    let mut bench = probing(&json!({"max_attempts": 1}));
    let died = Command::Recover { under_way: vec![] };
    for attempt in 2..5 {
        assert_eq!(started(&bench.tell(&died)), [(0, attempt)], "it has told nothing yet");
    }
    bench.fails_for_now(0, None);
    assert_eq!(bench.letters(), "AB");
    let mut asked = probing(&json!({"max_attempts": 2, "jitter": "none"}));
    asked.fails_for_now(0, Some(60_000));
    assert_eq!(asked.timing(None).wake_at_ms, Some(60_000), "who is asked may name a later time");
}

#[test]
fn without_a_probe_a_person_finds_out() {
    let steps = [step("a", json!({"on_unknown_outcome": "verify"})), step("b", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    bench.tell(&Command::Recover { under_way: vec![] });
    assert_eq!((bench.letters().as_str(), bench.run.why(0)[0].code), ("AB", Waiting::OutcomeUnknown));
}

#[test]
fn what_was_under_way_when_a_closing_run_died_is_over() {
    let mut bench = Bench::begun(parks());
    bench.tell(&Command::Cancel { reason: "enough".into() });
    bench.tell(&Command::Recover { under_way: vec![] });
    assert_eq!((bench.letters().as_str(), bench.run.state.status, bench.log.len()), ("XX", RunStatus::Cancelled, 1));
}

#[test]
fn an_attempt_that_was_not_told_to_end_is_told_on_recovery() {
    let mut bench = Bench::begun(flow("sequential", &two(), json!({})));
    bench.tell(&Command::Cancel { reason: "enough".into() });
    let recovered = bench.tell(&Command::Recover { under_way: vec![0] });
    assert_eq!((told_to_end(&recovered), recovered.changes.len()), (vec![(0, 0)], 0));
}

#[test]
fn a_quarantine_ends_the_run_whatever_it_does() {
    let steps = [step("a", json!({})), step("b", json!({"requires_approval": true}))];
    let quarantine = Command::Quarantine { failure: "index out of bounds".into() };
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    let decision = bench.tell(&quarantine);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("FX", RunStatus::Failed));
    assert_eq!(told_to_end(&decision), [(0, 0)]);
    assert_eq!(bench.error(), "the run was set aside after repeated failures of its actor: index out of bounds");
    assert_eq!(bench.log[0].failure.as_ref().map(|f| f.code.as_str()), Some("poisoned"));
    for more in [json!({"requires_approval": true}), json!({})] {
        let mut bench = Bench::new(flow("parallel", &steps, more));
        bench.tell(&quarantine);
        assert_eq!((bench.letters().as_str(), bench.run.state.status), ("XX", RunStatus::Failed), "before it began");
    }
}

#[test]
fn a_state_is_stored_and_read_back() {
    let steps = [
        step("a", json!({})),
        step("b", json!({"requires_approval": true, "config": {"expires_in_seconds": 60}})),
        step("c", json!({"config": {"scheduled_for": "{{ trigger.later }}"}})),
        step("d", json!({"when": "trigger.host == 'x'"})),
        step("e", json!({})),
    ];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    bench.fails_for_now(4, None);
    bench.tell(&Command::Cancel { reason: "enough".into() });
    let saved = bench.run.save();
    assert_eq!(saved.state, r#"{"v":1,"s":"IXXSX","l":{"0":{"r":0,"d":0,"t":0,"e":4}},"c":"cancelled","e":"enough"}"#);
    assert_eq!(RunState::load(&saved).as_ref(), Ok(&bench.run.state));
    let new = Bench::new(flow("parallel", &two(), json!({}))).run;
    assert_eq!(new.save().state, r#"{"v":1,"s":"BB"}"#);
    assert_eq!(RunState::load(&new.save()), Ok(new.state));
}

#[test]
fn a_state_that_this_release_does_not_know_is_refused() {
    let load = |state: &str| {
        let state = state.to_owned();
        RunState::load(&SavedState { status: RunStatus::Running, state, started_at_ms: None, completed_at_ms: None })
    };
    for newer in [r#"{"v":6,"s":"BB"}"#, r#"{"v":6,"steps":[1],"s":[]}"#] {
        let error = load(newer).unwrap_err();
        assert_eq!(error, StateError::Newer(6));
        assert_eq!(
            error.to_string(),
            "the run's state has version 6, this release reads versions 1 to 5: start the newer release again"
        );
    }
    for (damaged, words) in [
        ("", "EOF"),
        (r#"{"s":"B"}"#, "missing field `v`"),
        (r#"{"v":1,"s":"Q"}"#, "step 0 has the unknown state 'Q'"),
        (r#"{"v":1,"s":"I"}"#, "step 0 is InProgress"),
        (r#"{"v":1,"s":"C","l":{"0":{"r":1}}}"#, "step 0 is Completed"),
        (r#"{"v":1,"s":"C","l":{"7":{"r":1}}}"#, "there is no step 7"),
    ] {
        let error = load(damaged).unwrap_err().to_string();
        assert!(error.starts_with("the run's state cannot be read: ") && error.contains(words), "{error}");
    }
}

#[test]
fn a_loaded_run_knows_what_its_steps_gave() {
    let b = step("b", json!({"on_error": "continue"}));
    let c =
        step("c", json!({"config": {"action_payload": {"a": "{{ steps.a.output.n }}", "b": "{{ steps.b.error }}"}}}));
    let mut bench = Bench::begun(flow("sequential", &[step("a", json!({})), b, c], json!({})));
    bench.completes(0);
    bench.slots = 0;
    bench.fails(1);
    let finals = bench.log.iter().map(|e| LastAttempt {
        reused_from: None,
        attempt: e.attempt,
        is_final: e.is_final,
        step: e.step,
        result: e.result.clone().map(Kept::Here),
        error: e.failure.as_ref().map(|f| f.message.clone()),
    });
    let finals: Vec<LastAttempt> = finals.collect();
    let state = RunState::load(&bench.run.save()).unwrap();
    bench.run = Run::rehydrate(bench.run.header.clone(), bench.run.plan.clone(), state, &finals);
    bench.slots = 1;
    let recovered = bench.tell(&Command::Recover { under_way: vec![] });
    let Effect::StartAttempt { step: 2, payload, .. } = &recovered.effects[0] else { panic!("{recovered:?}") };
    assert_eq!(**payload, json!({"host": "web-1", "a": 0, "b": "no"}));
}
