//! What a loop goes over, whenever it is asked.

use serde_json::json;

use super::kinds::{kind, output, reload, reloaded, status};
use super::*;

/// A loop over what `collection` says, two items at a time, whose body is given its item.
fn each(collection: &str, last: &Value) -> Value {
    let call = json!({"id": "call", "config": {"action_type": "noop", "action_payload": {"item": "{{ loop.item }}"}}});
    kind("each", "for_each", json!({"collection": collection, "concurrency": 2, "steps": [call, last]}))
}

fn given(decision: &Decision) -> Vec<Value> {
    let start = |effect: &Effect| match effect {
        Effect::StartAttempt { payload, .. } => Some(payload["item"].clone()),
        _ => None,
    };
    decision.effects.iter().filter_map(start).collect()
}

/// A result that the log has lost (a blob that is gone) leaves the loop without its items: it fails in words, and what is
/// under way in it is told to end first.
#[test]
fn a_loop_whose_collection_is_lost_fails_in_words() {
    let last = json!({"id": "sum", "type": "transform", "config": {"values": {"n": "1"}}});
    let mut bench =
        Bench::begun(flow("sequential", &[step("a", json!({})), each("steps.a.output.list", &last)], json!({})));
    let output = Outcome::Completed(Arc::new(json!({"list": ["x", "y", "z"]})));
    assert_eq!(given(&bench.ends(0, output)), ["x", "y"]);
    let saved = reloaded(&bench);
    let state = RunState::load(&saved.save()).unwrap();
    bench.run = Run::rehydrate(saved.header.clone(), saved.plan.clone(), state, &[]);
    bench.run.attempts = saved.attempts;
    let first = 4;
    let recovered = bench.tell(&Command::Recover { under_way: vec![first, first + 2] });
    assert_eq!(told_to_end(&recovered), [(first, 0), (first + 2, 0)]);
    assert_eq!(bench.letters(), "CF");
    let failure = bench.log.iter().find(|entry| entry.step == 1).and_then(|entry| entry.failure.clone()).unwrap();
    assert_eq!(failure.code, "invalid_collection");
    assert_eq!(failure.message, "its collection can no longer be computed as it was when the loop began");
    bench.ends(first, Outcome::Cancelled);
    bench.ends(first + 2, Outcome::Cancelled);
    assert_eq!(status(&bench), RunStatus::Failed);
}

/// What is set while a loop runs does not change what it goes over.
#[test]
fn a_loop_over_values_goes_over_those_it_began_with() {
    let set = |id: &str, list: &str| kind(id, "set", json!({"values": {"list": list}}));
    let steps = [set("first", "['x', 'y', 'z']"), each("vars.list", &set("again", "[loop.item]"))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    let first = 4;
    assert_eq!(bench.letters(), "CW");
    bench.completes(first);
    assert_eq!(*bench.run.state.vars, json!({"list": ["x"]}), "the round has set it");
    reload(&mut bench);
    bench.completes(first + 2);
    bench.completes(first + 4);
    assert_eq!(output(&bench, "each")["count"], json!(3));
    assert_eq!(*bench.run.state.vars, json!({"list": ["z"]}), "the last round had the last item");
    assert_eq!(status(&bench), RunStatus::Completed);
}

/// A time that comes while the run is paused wakes nobody, again and again; the resume finds it.
#[test]
fn a_wait_whose_time_comes_while_the_run_is_paused_ends_with_the_resume() {
    let wait = kind("w", "wait", json!({"seconds": 10}));
    let mut bench = Bench::begun(flow("sequential", &[wait], json!({})));
    assert_eq!(bench.timing(None).wake_at_ms, Some(10_000));
    bench.tell(&Command::Pause { by: "user:1".into() });
    assert!(bench.at(10_000, &Command::Wake).changes.is_empty());
    assert_eq!(bench.timing(None).wake_at_ms, None, "a timer that is always due would never rest");
    bench.tell(&Command::Resume);
    assert_eq!(status(&bench), RunStatus::Completed);
}

/// A run that is cancelled within a round goes on from there: what was done is not done again.
#[test]
fn a_round_that_was_cut_off_goes_on_from_what_it_did_not_do() {
    let last = json!({"id": "after", "config": {"action_type": "noop"}});
    let mut bench = Bench::begun(flow("sequential", &[each("['x', 'y', 'z']", &last)], json!({})));
    let first = 3;
    bench.completes(first);
    bench.tell(&Command::Cancel { reason: "enough".into() });
    bench.ends(first + 1, Outcome::Cancelled);
    bench.ends(first + 2, Outcome::Cancelled);
    assert_eq!(status(&bench), RunStatus::Cancelled);
    reload(&mut bench);
    let again = bench.tell(&Command::Retry { step: None });
    assert_eq!(started(&again), [(first + 1, 1), (first + 2, 1)], "the first step of the first round was done");
    for no in [first + 1, first + 2, first + 3, first + 4, first + 5] {
        bench.completes(no);
    }
    assert_eq!(output(&bench, "each")["count"], json!(3));
    assert_eq!(status(&bench), RunStatus::Completed);
}

/// What stands in a branch may settle it before the branch itself looks.
#[test]
fn a_branch_in_which_all_fails_at_once_fails_once() {
    let raises = kind("r", "raise", json!({"message": "no"}));
    let lanes = kind("p", "parallel", json!({"branches": [{"id": "l", "steps": [raises]}]}));
    let branch = kind("b", "branch", json!({"cases": [{"when": "true", "steps": [lanes]}]}));
    let bench = Bench::begun(flow("sequential", &[branch], json!({})));
    assert_eq!((status(&bench), bench.letters(), bench.log.len()), (RunStatus::Failed, "FFF".to_owned(), 3));
}
