//! What people do to a run: take it up again, stop a step, start one early.

use super::*;

fn retry(step: Option<StepNo>) -> Command {
    Command::Retry { step }
}

fn cancel(step: StepNo) -> Command {
    Command::CancelStep { step }
}

#[test]
fn a_failed_run_goes_on_from_the_failed_step() {
    let steps = [step("a", json!({})), step("b", json!({})), step("c", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    bench.completes(0);
    bench.fails_for_now(1, Some(0));
    bench.at(4_000, &Command::Wake);
    bench.fails(1);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("CFX", RunStatus::Failed));
    let again = bench.at(9_000, &retry(None));
    let reset = |step| Change::StepReset { step };
    assert_eq!(again.changes[..3], [Change::RunReopened { at_ms: 9_000 }, reset(1), reset(2)]);
    assert_eq!(
        (started(&again), bench.letters().as_str()),
        (vec![(1, 2)], "CIB"),
        "its attempts go on where they ended"
    );
    assert_eq!((bench.run.state.completed_at_ms, bench.error(), bench.run.state.reopened), (None, "", 1));
    assert!(bench.run.save().state.starts_with(r#"{"v":1,"#), "a flow without phases keeps no time of one");
    assert_eq!(bench.run.results["a"].output, json!({"n": 0}).into(), "what was done stays done");
    // The whole budget of three attempts anew.
    bench.fails_for_now(1, Some(0));
    bench.at(20_000, &Command::Wake);
    bench.fails_for_now(1, Some(0));
    bench.at(40_000, &Command::Wake);
    bench.fails_for_now(1, Some(0));
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("CFX", RunStatus::Failed));
    let finals: Vec<_> = bench.log.iter().filter(|e| e.step == 1).map(|e| (e.attempt, e.is_final)).collect();
    assert_eq!(finals, [(0, false), (1, true), (2, false), (3, false), (4, true)], "each ending is one in the log");
    bench.tell(&retry(None));
    bench.completes(1);
    bench.completes(2);
    assert_eq!((bench.run.state.status, bench.run.state.reopened), (RunStatus::Completed, 2));
}

#[test]
fn a_run_is_taken_up_from_one_step_and_what_depends_on_it() {
    let roots = [after("a", &[], json!({})), after("b", &[], json!({}))];
    let steps: Vec<Value> =
        roots.into_iter().chain([after("c", &["a"], json!({})), after("d", &["b"], json!({}))]).collect();
    let fresh = || {
        let mut bench = Bench::begun(flow("mixed", &steps, json!({"on_error_action": "continue"})));
        bench.fails(0);
        bench.fails(1);
        assert_eq!((bench.letters().as_str(), bench.run.state.status), ("FFUU", RunStatus::Failed));
        bench
    };
    let mut bench = fresh();
    assert_eq!(started(&bench.tell(&retry(Some(0)))), [(0, 1)]);
    assert_eq!(bench.letters(), "IFBU", "the other branch stays as it ended");
    bench.completes(0);
    bench.completes(2);
    assert_eq!(
        (bench.letters().as_str(), bench.run.state.status, bench.error()),
        ("CFCU", RunStatus::Failed, "step 'b': no")
    );
    bench.tell(&retry(Some(1)));
    bench.completes(1);
    bench.completes(3);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("CCCC", RunStatus::Completed));
    for (step, why) in [
        (2, "step 2 is skipped: only a step that failed or was cancelled can be retried"),
        (9, "the run has no step 9"),
    ] {
        assert_eq!(fresh().decide(&retry(Some(step))).unwrap_err().to_string(), why);
    }
    assert!(started(&fresh().tell(&retry(None))) == [(0, 1), (1, 1)], "the whole: all that did not do what it should");
}

#[test]
fn a_tolerated_failure_that_others_went_on_from_stays() {
    let steps =
        [after("a", &[], json!({"on_error": "continue"})), after("b", &["a"], json!({})), after("c", &[], json!({}))];
    let mut bench = Bench::begun(flow("mixed", &steps, json!({"on_error_action": "continue"})));
    bench.fails(0);
    bench.completes(1);
    bench.fails(2);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("FCF", RunStatus::Failed));
    let refused = bench.decide(&retry(Some(0))).unwrap_err();
    assert_eq!(refused.to_string(), "step 0 is failed: steps after it have gone on from its failure");
    bench.tell(&retry(None));
    assert_eq!(bench.letters(), "FCI");
}

#[test]
fn only_what_ended_badly_and_in_time_is_taken_up_again() {
    let mut done = Bench::begun(flow("sequential", &two(), json!({})));
    let why = done.decide(&retry(None)).unwrap_err().to_string();
    assert_eq!(why, "the run is running: only a run that has ended badly is retried");
    done.completes(0);
    done.completes(1);
    let why = done.decide(&retry(None)).unwrap_err().to_string();
    assert_eq!(why, "the run is completed: only a run that failed or was cancelled can be retried");
    let mut late = Bench::begun(flow("sequential", &two(), json!({"max_execution_time_seconds": 60})));
    late.fails(0);
    late.now_ms = 60_000;
    assert_eq!(
        late.decide(&retry(None)).unwrap_err().to_string(),
        "the run is failed: its deadline has passed: restart it as a new run"
    );
    let mut refused = Bench::begun(flow("sequential", &two(), json!({"requires_approval": true})));
    refused.tell(&Command::Reject { step: None, by: person() });
    assert_eq!(
        refused.decide(&retry(None)).unwrap_err().to_string(),
        "the run is cancelled: it never began: restart it as a new run"
    );
}

#[test]
fn a_retried_step_is_asked_for_and_scheduled_anew() {
    let steps = [
        step("a", json!({"requires_approval": true})),
        step("b", json!({"config": {"scheduled_for": "{{ trigger.later }}"}})),
    ];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    bench.tell(&Command::Reject { step: Some(0), by: person() });
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("NX", RunStatus::Failed));
    let again = bench.tell(&retry(None));
    assert_eq!((started(&again), bench.letters().as_str()), (vec![], "AP"));
    assert!(again.changes.contains(&Change::ApprovalRequested { step: Some(0) }), "{again:?}");
    assert_eq!(bench.timing(None).wake_at_ms, Some(60_000));
}

#[test]
fn a_step_is_stopped_wherever_it_stands() {
    let waiting = |more: Value| Bench::begun(flow("parallel", &[step("a", more), step("z", json!({}))], json!({})));
    let mut retrying = waiting(json!({}));
    retrying.fails_for_now(0, None);
    let mut queued = Bench::new(flow("parallel", &two(), json!({})));
    queued.slots = 0;
    queued.tell(&Command::Begin);
    for (name, mut bench) in [
        ("asks", waiting(json!({"requires_approval": true}))),
        ("later", waiting(json!({"config": {"scheduled_for": "{{ trigger.later }}"}}))),
        ("retrying", retrying),
        ("queued", queued),
    ] {
        let stopped = bench.tell(&cancel(0));
        assert_eq!((bench.letters().chars().next(), told_to_end(&stopped)), (Some('X'), vec![]), "{name}");
        let twice = bench.decide(&cancel(0)).unwrap_err().to_string();
        assert_eq!(twice, "step 0 is cancelled: it has ended already", "{name}");
    }
    let mut blocked = Bench::begun(flow("sequential", &two(), json!({})));
    blocked.tell(&cancel(1));
    blocked.completes(0);
    assert_eq!((blocked.letters().as_str(), blocked.run.state.status), ("CX", RunStatus::Cancelled));
    assert_eq!(blocked.error(), "step 'b' is cancelled");
    assert_eq!(blocked.decide(&cancel(9)).unwrap_err(), Refusal::Ended(RunStatus::Cancelled));
}

#[test]
fn an_attempt_under_way_is_told_to_end_and_its_word_decides() {
    let fresh = || Bench::begun(flow("sequential", &two(), json!({})));
    let mut stopped = fresh();
    assert_eq!(told_to_end(&stopped.tell(&cancel(0))), [(0, 0)]);
    assert_eq!(stopped.letters(), "IB", "it ends with its attempt");
    stopped.ends(0, Outcome::Cancelled);
    assert_eq!((stopped.letters().as_str(), stopped.run.state.status), ("XU", RunStatus::Cancelled));
    let mut failing = fresh();
    failing.tell(&cancel(0));
    failing.fails_for_now(0, None);
    assert_eq!(failing.letters(), "XU", "it is not tried again");
    let mut too_late = fresh();
    too_late.tell(&cancel(0));
    too_late.completes(0);
    assert_eq!(too_late.letters().chars().next(), Some('C'), "what it did is kept as it was");
    stopped.tell(&retry(Some(0)));
    assert_eq!(stopped.letters(), "IB");
}

#[test]
fn a_step_need_not_wait_for_its_time() {
    let now = |step| Command::RunNow { step };
    let later = step("a", json!({"config": {"scheduled_for": "{{ trigger.later }}"}}));
    let asks = step("b", json!({"requires_approval": true}));
    let mut bench = Bench::begun(flow("parallel", &[later, asks, step("c", json!({}))], json!({})));
    assert_eq!((started(&bench.tell(&now(0))), bench.letters().as_str()), (vec![(0, 0)], "IAI"));
    assert!(bench.tell(&now(0)).changes.is_empty(), "it runs already");
    bench.fails_for_now(2, None);
    assert_eq!((bench.letters().as_str(), started(&bench.tell(&now(2)))), ("IAR", vec![(2, 1)]), "nor for its backoff");
    let unapproved = bench.decide(&now(1)).unwrap_err().to_string();
    assert_eq!(unapproved, "step 1 is awaiting_approval: it may not run now");
    assert_eq!(bench.decide(&now(9)).unwrap_err(), Refusal::NoSuchStep(9));
    bench.fails_for_now(2, None);
    bench.tell(&Command::Pause { by: "user:7".into() });
    let paused = bench.decide(&now(2)).unwrap_err().to_string();
    assert_eq!(paused, "the run is paused: none of its steps starts before it is resumed");
    assert!(bench.tell(&now(0)).changes.is_empty(), "what runs ends");
    bench.tell(&Command::Resume);
    bench.tell(&now(2));
    bench.completes(2);
    let ended = bench.decide(&now(2)).unwrap_err().to_string();
    assert_eq!(ended, "step 2 is completed: it may not run now");
}
