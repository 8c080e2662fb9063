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
