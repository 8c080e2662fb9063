//! Steps that start runs of other flows.

use super::kinds::{kind, output, reload};
use super::*;

#[test]
fn a_sub_flow_is_asked_for_again_until_it_is_heard_of() {
    let sub = json!({"flow_name": "other", "input": {"host": "{{ trigger.host }}"}});
    let mut bench = Bench::new(flow("sequential", &[kind("s", "sub_flow", sub)], json!({})));
    let asked = |decision: &Decision| match &decision.effects[..] {
        [Effect::StartRun { step: 0, known, input, .. }] => (*known, Value::clone(input)),
        other => panic!("{other:?}"),
    };
    let decision = bench.tell(&Command::Begin);
    assert_eq!(asked(&decision), (None, json!({"host": "web-1"})));
    assert_eq!(bench.timing(None).wake_at_ms, Some(30_000));
    let child = RunId::new(5, 9 << 24);
    let accepted = |run, attempt| Command::SubRun { step: 0, news: SubRunNews::Accepted { run, attempt } };
    bench.tell(&accepted(child, 0));
    reload(&mut bench);
    assert_eq!(asked(&bench.at(30_000, &Command::Wake)).0, Some(child));
    let ended = |status| Command::SubRun {
        step: 0,
        news: SubRunNews::Ended { run: child, status, output: Arc::new(json!(1)), error: Some("oh".to_owned()) },
    };
    let mut fails =
        Bench::begun(flow("sequential", &[kind("s", "sub_flow", json!({"flow_name": "other"}))], json!({})));
    fails.tell(&accepted(child, 0));
    fails.tell(&ended(RunStatus::Failed));
    assert!(fails.run.state.error.as_deref().unwrap().ends_with("is failed: oh"), "{:?}", fails.run.state.error);
    bench.tell(&ended(RunStatus::Completed));
    assert_eq!(output(&bench, "s"), json!({"run_id": child, "run_status": "completed", "output": 1}));
}

#[test]
fn a_sub_flow_that_is_done_again_starts_another_run() {
    let mut bench =
        Bench::begun(flow("sequential", &[kind("s", "sub_flow", json!({"flow_name": "other"}))], json!({})));
    let accepted = |run, attempt| Command::SubRun { step: 0, news: SubRunNews::Accepted { run, attempt } };
    let ended = |run, status| Command::SubRun {
        step: 0,
        news: SubRunNews::Ended { run, status, output: Arc::new(json!(1)), error: None },
    };
    let (first, second) = (RunId::new(5, 1 << 24), RunId::new(5, 2 << 24));
    bench.tell(&accepted(first, 0));
    bench.tell(&ended(first, RunStatus::Failed));
    assert_eq!(bench.run.state.status, RunStatus::Failed);
    let again = bench.at(9_000, &Command::Retry { step: None });
    assert!(matches!(&again.effects[..], [Effect::StartRun { step: 0, attempt: 1, known: None, .. }]), "{again:?}");
    // What is still on its way from the first is old news.
    bench.tell(&accepted(first, 0));
    bench.tell(&ended(first, RunStatus::Failed));
    bench.tell(&Command::SubRun { step: 0, news: SubRunNews::Refused { attempt: 0, message: "no".to_owned() } });
    bench.tell(&Command::SubRun { step: 0, news: SubRunNews::Gone { run: first } });
    assert_eq!(bench.letters(), "W");
    bench.tell(&accepted(second, 1));
    bench.tell(&ended(second, RunStatus::Completed));
    assert_eq!(output(&bench, "s")["run_id"], json!(second));
}

#[test]
fn whoever_waits_for_a_run_names_it() {
    let mut bench =
        Bench::begun(flow("sequential", &[kind("s", "sub_flow", json!({"flow_name": "other"}))], json!({})));
    let reason = bench.run.why(0).remove(0);
    assert_eq!((reason.code, reason.held_by.len(), reason.wakes_at_ms), (Waiting::SubFlow, 0, Some(30_000)));
    let child = RunId::new(5, 9 << 24);
    bench.tell(&Command::SubRun { step: 0, news: SubRunNews::Accepted { run: child, attempt: 0 } });
    reload(&mut bench);
    let reason = bench.run.why(0).remove(0);
    assert_eq!((reason.code, reason.held_by), (Waiting::SubFlow, vec![child.to_string()]));
    assert!(reason.message.contains(&child.to_string()), "{}", reason.message);
}

/// A run of one step that starts another, which it has heard of.
fn calling() -> (Bench, RunId) {
    let mut bench =
        Bench::begun(flow("sequential", &[kind("s", "sub_flow", json!({"flow_name": "other"}))], json!({})));
    let child = RunId::new(5, 9 << 24);
    bench.tell(&Command::SubRun { step: 0, news: SubRunNews::Accepted { run: child, attempt: 0 } });
    (bench, child)
}

fn told_to_stop(decision: &Decision) -> Vec<Option<RunId>> {
    let stop = |effect: &Effect| match effect {
        Effect::StopRun { step: 0, known, .. } => Some(*known),
        _ => None,
    };
    decision.effects.iter().filter_map(stop).collect()
}

fn child_ended(run: RunId, status: RunStatus) -> Command {
    let news = SubRunNews::Ended { run, status, output: Arc::new(json!(1)), error: None };
    Command::SubRun { step: 0, news }
}

#[test]
fn a_cancel_reaches_the_run_that_a_step_waits_for() {
    let (mut bench, child) = calling();
    assert_eq!(told_to_stop(&bench.tell(&Command::Cancel { reason: "enough".into() })), [Some(child)]);
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("W", RunStatus::Running), "it waits for its end");
    // Neither a death nor a lost word leaves it alone.
    reload(&mut bench);
    assert_eq!(told_to_stop(&bench.tell(&Command::Recover { under_way: vec![] })), [Some(child)]);
    assert_eq!(bench.timing(None).wake_at_ms, Some(30_000));
    assert_eq!(told_to_stop(&bench.at(30_000, &Command::Wake)), [Some(child)]);
    bench.tell(&child_ended(child, RunStatus::Cancelled));
    assert_eq!((bench.letters().as_str(), bench.run.state.status), ("X", RunStatus::Cancelled));
    assert_eq!((bench.log.len(), bench.log[0].status), (1, ExecutionStatus::Cancelled));
    // Whoever takes it up again starts another.
    let again = bench.tell(&Command::Retry { step: None });
    assert!(matches!(&again.effects[..], [Effect::StartRun { attempt: 1, known: None, .. }]), "{again:?}");

    let (mut late, child) = calling();
    late.tell(&Command::Cancel { reason: "enough".into() });
    late.tell(&child_ended(child, RunStatus::Completed));
    assert_eq!((late.letters().as_str(), late.run.state.status), ("C", RunStatus::Cancelled), "it was too late");
}

#[test]
fn a_run_that_is_paused_while_it_ends_hears_of_its_own() {
    let (mut bench, child) = calling();
    bench.tell(&Command::Pause { by: "user:1".into() });
    bench.tell(&Command::Cancel { reason: "enough".into() });
    assert_eq!(told_to_stop(&bench.at(30_000, &Command::Wake)), [Some(child)]);
    bench.tell(&child_ended(child, RunStatus::Cancelled));
    assert_eq!(bench.run.state.status, RunStatus::Cancelled);
}

#[test]
fn one_that_has_not_heard_of_its_run_asks_for_it() {
    let sub = kind("s", "sub_flow", json!({"flow_name": "other"}));
    let begun = || Bench::begun(flow("sequential", std::slice::from_ref(&sub), json!({})));
    let cancel = Command::Cancel { reason: "enough".into() };
    let mut never = begun();
    assert_eq!(told_to_stop(&never.tell(&cancel)), [None]);
    never.tell(&Command::SubRun { step: 0, news: SubRunNews::Refused { attempt: 0, message: "no".to_owned() } });
    assert_eq!((never.letters().as_str(), never.run.state.status), ("X", RunStatus::Cancelled));
    let mut found = begun();
    found.tell(&cancel);
    let child = RunId::new(5, 9 << 24);
    let heard = found.tell(&Command::SubRun { step: 0, news: SubRunNews::Accepted { run: child, attempt: 0 } });
    assert_eq!(told_to_stop(&heard), [Some(child)]);
}

#[test]
fn a_deadline_and_a_cancelled_step_reach_it_too_and_one_that_was_let_go_is_left_alone() {
    let timed = json!({"max_execution_time_seconds": 5});
    let sub = |waits: bool| [kind("s", "sub_flow", json!({"flow_name": "other", "wait": waits}))];
    let mut late = Bench::begun(flow("sequential", &sub(true), &timed));
    assert_eq!(told_to_stop(&late.at(5_000, &Command::Wake)), [None]);
    let (mut one, child) = calling();
    assert_eq!(told_to_stop(&one.tell(&Command::CancelStep { step: 0 })), [Some(child)]);
    assert!(told_to_stop(&one.tell(&Command::CancelStep { step: 0 })).is_empty(), "it knows");
    one.tell(&child_ended(child, RunStatus::Failed));
    assert_eq!((one.letters().as_str(), one.run.state.status), ("X", RunStatus::Cancelled));
    let mut alone = Bench::begun(flow("sequential", &sub(false), json!({})));
    assert!(told_to_stop(&alone.tell(&Command::Cancel { reason: "enough".into() })).is_empty());
    assert_eq!(alone.run.state.status, RunStatus::Cancelled);
}

#[test]
fn a_run_that_is_set_aside_waits_for_no_other() {
    let quarantine = Command::Quarantine { failure: "index out of bounds".into() };
    let (mut ending, child) = calling();
    ending.tell(&Command::Cancel { reason: "enough".into() });
    assert_eq!(told_to_stop(&ending.tell(&quarantine)), [Some(child)]);
    assert_eq!((ending.letters().as_str(), ending.run.state.status), ("X", RunStatus::Cancelled));
    let (mut one, child) = calling();
    one.tell(&Command::CancelStep { step: 0 });
    assert_eq!(told_to_stop(&one.tell(&quarantine)), [Some(child)]);
    assert_eq!((one.letters().as_str(), one.run.state.status), ("X", RunStatus::Failed));
    let again = one.tell(&Command::Retry { step: None });
    assert!(matches!(&again.effects[..], [Effect::StartRun { attempt: 1, known: None, .. }]), "{again:?}");
}
