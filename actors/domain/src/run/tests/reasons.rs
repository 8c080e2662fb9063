//! Why a run does not go on: each word, with what holds it and when it ends by itself.

use super::*;

/// Code, step, wake-up, and what holds it.
type Told = (Waiting, Option<String>, Option<i64>, Vec<String>);

fn why(bench: &Bench) -> Vec<Told> {
    let reasons = bench.run.why(bench.now_ms).into_iter();
    reasons.map(|r| (r.code, r.step_id, r.wakes_at_ms, r.held_by)).collect()
}

fn one(bench: &Bench) -> Reason {
    let mut reasons = bench.run.why(bench.now_ms);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons.remove(0)
}

fn of(more: Value) -> Value {
    flow("parallel", &[step("a", more)], json!({}))
}

fn person() -> Vec<String> {
    vec!["person".to_owned()]
}

#[test]
fn a_run_says_why_it_does_not_begin_or_go_on() {
    let deadline = json!({"max_execution_time_seconds": 60, "requires_approval": true});
    let mut bench = Bench::new(flow("sequential", &two()[..1], deadline));
    let begin = &bench.run.why(0)[0];
    assert_eq!((begin.code, begin.wakes_at_ms, &begin.execution_id), (Waiting::Begin, Some(60_000), &None));
    bench.tell(&Command::Begin);
    assert_eq!(why(&bench)[0], (Waiting::Approval, None, Some(60_000), person()));
    let mut paused = Bench::begun(of(json!({"config": {"scheduled_for": "{{ trigger.later }}"}})));
    paused.tell(&Command::Pause { by: "user:7".into() });
    let reason = &paused.run.why(0)[0];
    assert_eq!((reason.code, reason.message.as_str()), (Waiting::Paused, "the run was paused by user:7"));
    assert_eq!(reason.held_by, ["user:7"]);
}

#[test]
fn a_step_says_what_it_waits_for() {
    let mut blocked = Bench::begun(flow("sequential", &two(), json!({})));
    let id = blocked.run.header.id;
    let attempt = (Waiting::Attempt, Some("a".to_owned()), None, vec![]);
    assert_eq!(
        why(&blocked),
        [attempt, (Waiting::Dependency, Some("b".to_owned()), None, vec![id.execution(0).to_string()])]
    );
    assert_eq!(blocked.run.why(0)[1].execution_id, Some(id.execution(1)));
    blocked.completes(0);
    blocked.completes(1);
    assert_eq!(why(&blocked), [], "nothing waits in a run that has ended");

    let asks = Bench::begun(of(json!({"requires_approval": true, "config": {"expires_in_seconds": 30}})));
    assert_eq!(why(&asks), [(Waiting::Approval, Some("a".to_owned()), Some(30_000), person())]);
    let mut scheduled = Bench::begun(of(json!({"config": {"scheduled_for": "{{ trigger.later }}"}})));
    assert_eq!(why(&scheduled), [(Waiting::Schedule, Some("a".to_owned()), Some(60_000), vec![])]);
    scheduled.slots = 0;
    scheduled.at(60_000, &Command::Wake);
    let slot = one(&scheduled);
    assert_eq!((slot.code, slot.wakes_at_ms), (Waiting::Slot, None));
    assert_eq!(slot.message, "it is due, and waits for a free slot");
}

#[test]
fn an_attempt_says_how_many_there_were_and_until_when_it_may_take() {
    let mut bench = Bench::begun(of(json!({"timeout_seconds": 5})));
    let under_way = one(&bench);
    assert_eq!((under_way.code, under_way.wakes_at_ms), (Waiting::Attempt, Some(5_000)));
    bench.fails_for_now(0, None);
    let retry = one(&bench);
    assert_eq!((retry.code, retry.wakes_at_ms), (Waiting::Retry, Some(2_000)));
    assert_eq!(retry.message, "attempt 1 of 3 has failed; the next one is due");
    bench.at(2_000, &Command::Wake);
    bench.fails(0);
    bench.tell(&Command::Retry { step: None });
    bench.fails_for_now(0, None);
    let counted_anew = "attempt 1 of 3 has failed; the next one is due";
    assert_eq!(one(&bench).message, counted_anew, "attempts before the run was taken up again do not count");
}

#[test]
fn an_unknown_outcome_waits_for_a_person() {
    for more in
        [json!({"on_unknown_outcome": "park"}), json!({"on_unknown_outcome": "park", "requires_approval": true})]
    {
        let mut bench = Bench::begun(of(more.clone()));
        if more.get("requires_approval").is_some() {
            bench.tell(&Command::Approve { step: Some(0), by: super::person() });
        }
        bench.tell(&Command::Recover { under_way: vec![] });
        let parked = one(&bench);
        assert_eq!((parked.code, parked.held_by), (Waiting::OutcomeUnknown, person()), "{more}");
    }
}

#[test]
fn a_run_that_ends_says_how_and_waits_for_what_is_under_way() {
    let both = || Bench::begun(flow("parallel", &two(), json!({"max_execution_time_seconds": 60})));
    let (mut failed, mut cancelled, mut late) = (both(), both(), both());
    failed.fails(0);
    cancelled.tell(&Command::Cancel { reason: "enough".into() });
    late.at(60_000, &Command::Wake);
    for (bench, words) in
        [(failed, "it has failed"), (cancelled, "it was cancelled"), (late, "its deadline has passed")]
    {
        let reasons = bench.run.why(bench.now_ms);
        assert_eq!(reasons[0].code, Waiting::Ending);
        assert!(reasons[0].message.starts_with(words), "{reasons:?}");
        assert!(reasons[1..].iter().all(|reason| reason.code == Waiting::Attempt), "{reasons:?}");
        assert!(reasons.len() > 1, "{reasons:?}");
    }
}
