//! Steps that are no actions: each type, and how they stand in each other.

use serde_json::json;

use super::*;

/// A step of a type.
pub(super) fn kind(id: &str, word: &str, config: impl Borrow<Value>) -> Value {
    json!({"id": id, "type": word, "config": config.borrow()})
}

pub(super) fn output(bench: &Bench, id: &str) -> Value {
    Value::clone(bench.run.results[id].output.get().unwrap())
}

pub(super) fn status(bench: &Bench) -> RunStatus {
    bench.run.state.status
}

/// A copy of the run as it is after a restart.
pub(super) fn reloaded(bench: &Bench) -> Run {
    let last: std::collections::BTreeMap<StepNo, LastAttempt> = bench
        .log
        .iter()
        .map(|entry| {
            let last = LastAttempt {
                reused_from: None,
                step: entry.step,
                attempt: entry.attempt,
                is_final: entry.is_final,
                result: entry.result.clone().map(Kept::Here),
                error: entry.failure.as_ref().map(|failure| failure.message.clone()),
            };
            (entry.step, last)
        })
        .collect();
    let attempts: Vec<LastAttempt> = last.into_values().collect();
    let state = RunState::load(&bench.run.save()).unwrap();
    Run::rehydrate(bench.run.header.clone(), bench.run.plan.clone(), state, &attempts)
}

/// The run leaves memory and comes back.
pub(super) fn reload(bench: &mut Bench) {
    bench.run = reloaded(bench);
}

#[test]
fn values_are_computed_set_and_given() {
    let steps = [
        kind("a", "transform", json!({"values": {"n": "1 + 2", "host": "trigger.host"}})),
        kind("b", "set", json!({"values": {"seen": "steps.a.output.n"}})),
        kind("c", "set", json!({"values": {"seen": "vars.seen + 1", "more": "'x'"}})),
        kind("d", "transform", json!({"values": {"all": "vars"}})),
    ];
    let bench = Bench::begun(flow("sequential", &steps, json!({})));
    assert_eq!((status(&bench), bench.letters()), (RunStatus::Completed, "CCCC".to_owned()));
    assert_eq!(output(&bench, "a"), json!({"n": 3, "host": "web-1"}));
    assert_eq!(**bench.run.output().get().unwrap(), json!({"all": {"seen": 4, "more": "x"}}));
    assert_eq!(bench.log.len(), 4);
    assert_eq!(**reloaded(&bench).output().get().unwrap(), json!({"all": {"seen": 4, "more": "x"}}));
}

#[test]
fn an_expression_that_fails_at_run_time_fails_its_step_in_words() {
    let steps = [kind("a", "transform", json!({"values": {"n": "trigger.host.name"}}))];
    let bench = Bench::begun(flow("sequential", &steps, json!({})));
    assert_eq!(status(&bench), RunStatus::Failed);
    let error = bench.run.state.error.unwrap();
    assert!(error.starts_with("step 'a': n: ") && error.contains("trigger.host"), "{error}");
}

#[test]
fn raise_fails_and_stop_ends() {
    let raise = [kind("a", "raise", json!({"error": "no_disk", "message": "{{ trigger.host }} is full"}))];
    let bench = Bench::begun(flow("sequential", &raise, json!({})));
    assert_eq!(bench.run.state.error.as_deref(), Some("step 'a': web-1 is full"));
    assert_eq!(bench.log[0].failure.as_ref().unwrap().code, "no_disk");
    for (word, ends) in
        [("completed", RunStatus::Completed), ("failed", RunStatus::Failed), ("cancelled", RunStatus::Cancelled)]
    {
        let config = json!({"status": word, "output": {"host": "{{ trigger.host }}"}});
        let bench = Bench::begun(flow("sequential", &[kind("a", "stop", config), step("b", json!({}))], json!({})));
        assert_eq!((status(&bench), bench.letters()), (ends, "CX".to_owned()));
        assert_eq!(**bench.run.output().get().unwrap(), json!({"host": "web-1"}));
        assert_eq!(bench.run.state.error.is_none(), ends == RunStatus::Completed);
    }
}

#[test]
fn a_parallel_step_whose_lanes_are_done_ends_when_the_run_is_taken_up_again() {
    let stop = kind("s", "stop", json!({"status": "cancelled"}));
    let lanes = kind("p", "parallel", json!({"branches": [{"id": "x", "steps": [stop]}]}));
    let mut bench = Bench::begun(flow("sequential", &[lanes, step("z", json!({}))], json!({})));
    assert_eq!((status(&bench), bench.letters()), (RunStatus::Cancelled, "XCX".to_owned()));
    bench.tell(&Command::Retry { step: None });
    assert_eq!(bench.letters(), "CCI");
    bench.completes(2);
    assert_eq!(status(&bench), RunStatus::Completed);
}

#[test]
fn a_branch_takes_the_first_case_that_holds() {
    let branch = |when: [&str; 2]| {
        let case = |no: usize| json!({"when": when[no], "steps": [step(&format!("c{no}"), json!({})), step(&format!("d{no}"), json!({}))]});
        let config = json!({"cases": [case(0), case(1)], "default": [step("e", json!({}))]});
        Bench::begun(flow("sequential", &[kind("b", "branch", config), step("z", json!({}))], json!({})))
    };
    let mut second = branch(["false", "trigger.host == 'web-1'"]);
    assert_eq!(second.letters(), "WUUIBUB");
    second.completes(3);
    reload(&mut second);
    second.completes(4);
    assert_eq!(second.letters(), "CUUCCUI");
    assert_eq!(output(&second, "b"), json!({"case": 1, "output": {"n": 4}}));
    second.completes(6);
    assert_eq!(status(&second), RunStatus::Completed);
    let mut default = branch(["false", "false"]);
    assert_eq!(default.letters(), "WUUUUIB");
    default.fails(5);
    assert_eq!((status(&default), default.letters()), (RunStatus::Failed, "FUUUUFX".to_owned()));
    assert_eq!(default.run.state.error.as_deref(), Some("step 'b': step 'e' in it failed: no"));
}

#[test]
fn parallel_lanes_join_as_they_are_told() {
    let parallel = |join: Value| {
        let lane = |id: &str| json!({"id": id, "steps": [step(&format!("s{id}"), json!({}))]});
        let config = json!({"branches": [lane("x"), lane("y"), lane("z")], "join": join});
        Bench::begun(flow("sequential", &[kind("p", "parallel", config), step("q", json!({}))], json!({})))
    };
    let mut all = parallel(json!("all"));
    assert_eq!(all.letters(), "WIIIB");
    all.completes(2);
    all.completes(1);
    assert_eq!(all.letters(), "WCCIB");
    all.completes(3);
    assert_eq!(all.letters(), "CCCCI");
    assert_eq!(output(&all, "p"), json!({"x": {"n": 1}, "y": {"n": 2}, "z": {"n": 3}}));
    let mut any = parallel(json!("any"));
    let decision = any.completes(2);
    assert_eq!(decision.effects.iter().filter(|e| matches!(e, Effect::CancelAttempt { .. })).count(), 2);
    any.ends(1, Outcome::Cancelled);
    any.ends(3, Outcome::Cancelled);
    assert_eq!((any.letters(), output(&any, "p")), ("CXCXI".to_owned(), json!({"y": {"n": 2}})));
    let mut two = parallel(json!(2));
    two.fails(1);
    two.fails(2);
    assert_eq!((two.letters(), status(&two)), ("WFFIB".to_owned(), RunStatus::Running));
    two.completes(3);
    assert_eq!(status(&two), RunStatus::Failed);
}

fn each(more: impl Borrow<Value>) -> Value {
    let mut config = json!({"collection": "trigger.later.split(':').map(x, x)", "concurrency": 2, "steps": [
        {"id": "call", "config": {"action_type": "noop", "action_payload": {"item": "{{ loop.item }}", "no": "{{ loop.index }}"}}},
        {"id": "sum", "type": "transform", "config": {"values": {"of": "loop.item", "n": "steps.call.output.n"}}},
    ]});
    config["collection"] = "['a', 'b', 'c', 'd']".into();
    merge_patch(&mut config, more.borrow());
    kind("each", "for_each", config)
}

#[test]
fn a_loop_goes_over_its_items_a_few_at_a_time_and_keeps_their_order() {
    let mut bench = Bench::begun(flow("sequential", &[each(json!({})), step("z", json!({}))], json!({})));
    // Two fixed steps, two of the body, then a round each of two numbers.
    assert_eq!(bench.letters(), "WB");
    assert_eq!(bench.run.state.loose.keys().copied().collect::<Vec<_>>(), [4, 5, 6, 7]);
    bench.completes(6);
    assert_eq!(bench.run.state.loose.keys().copied().collect::<Vec<_>>(), [4, 5, 8, 9]);
    reload(&mut bench);
    bench.completes(8);
    bench.completes(10);
    bench.completes(4);
    assert_eq!(bench.letters(), "CI");
    let given = |item: &str, n: u32| json!({"of": item, "n": n});
    let results = [given("a", 4), given("b", 6), given("c", 8), given("d", 10)];
    assert_eq!(output(&bench, "each"), json!({"count": 4, "failed": 0, "results": results}));
    assert!(bench.run.state.loose.is_empty());
    bench.completes(1);
    assert_eq!(status(&bench), RunStatus::Completed);
}

#[test]
fn a_loop_stops_at_a_failure_or_goes_on_and_a_retry_makes_the_bad_rounds_again() {
    let mut stops = Bench::begun(flow("sequential", &[each(json!({}))], json!({})));
    stops.fails(3);
    stops.completes(5);
    assert_eq!((status(&stops), stops.letters()), (RunStatus::Failed, "F".to_owned()));
    assert_eq!(stops.run.state.error.as_deref(), Some("step 'each': item 0 failed; 2 of 4 were begun"));
    reload(&mut stops);
    stops.tell(&Command::Retry { step: None });
    assert_eq!(stops.run.state.loose.keys().copied().collect::<Vec<_>>(), [3, 4, 7, 8], "b is not done again");
    for no in [3, 7, 9] {
        stops.completes(no);
    }
    assert_eq!(output(&stops, "each")["results"][1], json!({"of": "b", "n": 5}));
    assert_eq!(status(&stops), RunStatus::Completed);
    let mut goes_on = Bench::begun(flow("sequential", &[each(json!({"on_error": "continue"}))], json!({})));
    for no in [3, 5, 7] {
        goes_on.fails(no);
    }
    goes_on.completes(9);
    let results = output(&goes_on, "each");
    assert_eq!((&results["failed"], &results["results"][0]), (&json!(3), &Value::Null));
    assert_eq!(status(&goes_on), RunStatus::Completed);
}

#[test]
fn a_loop_of_many_rounds_stays_small() {
    let config = json!({"collection": "trigger.items", "concurrency": 50, "on_error": "continue",
        "steps": [kind("t", "transform", json!({"values": {"x": "loop.index"}}))]});
    let mut bench = Bench::new(flow("sequential", &[kind("each", "for_each", config)], json!({})));
    let items: Vec<u32> = (0..20_000).collect();
    Arc::get_mut(&mut bench.run.header).unwrap().trigger_context = Arc::new(json!({"items": items}));
    let mut decision = bench.decide(&Command::Begin).unwrap();
    let (mut decisions, mut largest, mut rows) = (0, 0, 0);
    loop {
        bench.run.apply(&decision);
        decisions += 1;
        rows += decision.changes.iter().filter(|change| matches!(change, Change::AttemptLogged(_))).count();
        largest = largest.max(bench.run.save().state.len());
        if status(&bench).is_terminal() {
            break;
        }
        assert_eq!(bench.timing(None).wake_at_ms, Some(0), "it is due at once");
        decision = bench.decide(&Command::Wake).unwrap();
    }
    assert_eq!((status(&bench), rows), (RunStatus::Completed, 20_001));
    assert_eq!(output(&bench, "each")["results"][19_999], json!({"x": 19_999}));
    assert!(decisions > 150 && largest < 2_000, "{decisions} decisions, {largest} bytes");
}

#[test]
fn a_while_looks_before_each_round_and_gives_up() {
    let while_loop = |condition: &str| {
        let config = json!({"condition": condition, "max_iterations": 3, "steps": [
            kind("n", "set", json!({"values": {"n": "has(vars.n) ? vars.n + 1 : 1"}}))]});
        Bench::begun(flow(
            "sequential",
            &[kind("first", "set", json!({"values": {"m": "0"}})), kind("w", "while", config)],
            json!({}),
        ))
    };
    let twice = while_loop("!has(steps.n) || steps.n.output.n < 2");
    assert_eq!(status(&twice), RunStatus::Completed, "{:?}", twice.run.state.error);
    assert_eq!(output(&twice, "w"), json!({"iterations": 2, "output": {"n": 2}}));
    assert_eq!(output(&while_loop("false"), "w"), json!({"iterations": 0, "output": null}));
    let ever = while_loop("true");
    assert_eq!(ever.run.state.error.as_deref(), Some("step 'w': its condition still holds after 3 rounds"));
}

#[test]
fn loops_stand_in_loops_and_branches_in_them() {
    let inner = json!({"collection": "[loop.item, loop.item * 10]", "steps": [
        kind("which", "branch", json!({"cases": [{"when": "loop.item > 5", "steps": [
            kind("big", "transform", json!({"values": {"v": "loop.item"}}))]}]}))]});
    let outer = json!({"collection": "[1, 2]", "steps": [kind("inner", "for_each", inner)]});
    let bench = Bench::begun(flow("sequential", &[kind("outer", "for_each", outer)], json!({})));
    assert_eq!(status(&bench), RunStatus::Completed, "{:?}", bench.run.state.error);
    let none = json!({"case": "default", "output": null});
    let big = |v: u32| json!({"case": 0, "output": {"v": v}});
    let of = |v: u32| json!({"count": 2, "failed": 0, "results": [none, big(v)]});
    assert_eq!(output(&bench, "outer")["results"], json!([of(10), of(20)]));
}

#[test]
fn a_wait_ends_by_its_time_a_signal_or_its_patience() {
    let wait = |config: Value| Bench::begun(flow("sequential", &[kind("w", "wait", config)], json!({})));
    let mut seconds = wait(json!({"seconds": 5}));
    assert_eq!((seconds.letters(), seconds.timing(None).wake_at_ms), ("W".to_owned(), Some(5_000)));
    reload(&mut seconds);
    seconds.at(5_000, &Command::Wake);
    assert_eq!(status(&seconds), RunStatus::Completed);
    assert_eq!(wait(json!({"until": "{{ trigger.later }}"})).timing(None).wake_at_ms, Some(60_000));
    let go = |payload: u32| Command::Signal { name: "go".into(), payload: Arc::new(json!(payload)), request: None };
    let mut signal = wait(json!({"signal": "go", "timeout_seconds": 10}));
    signal.tell(&Command::Signal { name: "other".into(), payload: Arc::default(), request: None });
    reload(&mut signal);
    signal.tell(&go(7));
    assert_eq!(output(&signal, "w"), json!({"timed_out": false, "payload": 7}));
    let mut late = wait(json!({"signal": "go", "timeout_seconds": 10, "on_timeout": "continue"}));
    late.at(10_000, &Command::Wake);
    assert_eq!(output(&late, "w")["timed_out"], json!(true));
    let mut fails = wait(json!({"signal": "go", "timeout_seconds": 10}));
    fails.at(10_000, &Command::Wake);
    assert_eq!(status(&fails), RunStatus::Failed);
    // A signal that comes before its step waits for it.
    let steps = [step("a", json!({})), kind("w", "wait", json!({"signal": "go"}))];
    let mut early = Bench::begun(flow("sequential", &steps, json!({})));
    early.tell(&go(1));
    early.tell(&go(2));
    early.completes(0);
    assert_eq!((output(&early, "w")["payload"].clone(), early.run.state.signals.len()), (json!(1), 1));
}

fn voter(user: u128, role: Role) -> Voter {
    Voter { user: UserId(Uuid::from_u128(user)), role, ..person() }
}

#[test]
fn an_approval_is_for_those_it_names_and_as_many_as_it_asks() {
    let config = json!({"approvers": ["role:operator"], "required": 2, "timeout_seconds": 60});
    let approval = |more: Value| {
        let mut config = config.clone();
        merge_patch(&mut config, &more);
        Bench::begun(flow("sequential", &[kind("ok", "approval", config), step("z", json!({}))], json!({})))
    };
    let yes = |user: u128| Command::Approve { step: Some(0), by: voter(user, Role::Operator) };
    let mut bench = approval(json!({}));
    assert_eq!(bench.letters(), "AB");
    let viewer = Command::Approve { step: Some(0), by: voter(1, Role::Viewer) };
    assert!(matches!(bench.decide(&viewer), Err(Refusal::NotYours(..))));
    bench.tell(&yes(1));
    reload(&mut bench);
    assert!(matches!(bench.decide(&yes(1)), Err(Refusal::NotYours(..))), "nobody agrees twice");
    assert_eq!(bench.run.why(0)[0].message, "1 of 2 people have agreed");
    bench.tell(&yes(2));
    assert_eq!(bench.letters(), "CI");
    assert_eq!(output(&bench, "ok")["approved_by"].as_array().unwrap().len(), 2);
    let mut refused = approval(json!({}));
    refused.tell(&yes(1));
    refused.tell(&Command::Reject { step: Some(0), by: voter(2, Role::Operator) });
    assert_eq!((refused.letters(), status(&refused)), ("NX".to_owned(), RunStatus::Failed));
    for (word, letters) in [("reject", "EX"), ("fail", "FX"), ("approve", "CI")] {
        let mut late = approval(json!({"on_timeout": word}));
        late.at(60_000, &Command::Wake);
        assert_eq!(late.letters(), letters, "{word}");
    }
    let mut late = approval(json!({"on_timeout": "escalate"}));
    let decision = late.at(60_000, &Command::Wake);
    assert!(decision.changes.contains(&Change::ApprovalOverdue { step: 0 }), "{:?}", decision.changes);
    assert_eq!((late.letters(), late.timing(None).wake_at_ms), ("AB".to_owned(), None), "it goes on waiting");
    late.tell(&yes(1));
    late.tell(&yes(2));
    assert_eq!(late.letters(), "CI");
}

#[test]
fn an_approval_may_be_for_whoever_is_on_call() {
    let config = json!({"approvers": ["on_call:web"], "timeout_seconds": 60});
    let mut bench = Bench::begun(flow("sequential", &[kind("ok", "approval", config)], json!({})));
    let duty = |who: Result<u128, &str>| OnDuty {
        schedule: "web".to_owned(),
        who: who.map(|user| UserId(Uuid::from_u128(user))).map_err(str::to_owned),
    };
    let by = |user: u128, duty: OnDuty| Voter { on_duty: Arc::new([duty]), ..voter(user, Role::Operator) };
    let refused = |bench: &mut Bench, by: Voter| match bench.decide(&Command::Approve { step: Some(0), by }) {
        Err(Refusal::NotYours(0, message)) => message,
        other => panic!("{other:?}"),
    };
    let message = refused(&mut bench, by(1, duty(Ok(2))));
    assert!(
        message.starts_with("it is for on_call:web (user:") && message.ends_with("is on call in 'web')"),
        "{message}"
    );
    let message = refused(&mut bench, by(1, duty(Err("nobody is on call in 'web'"))));
    assert_eq!(message, "it is for on_call:web (nobody is on call in 'web')");
    assert_eq!(refused(&mut bench, voter(1, Role::Operator)), "it is for on_call:web");
    assert_eq!(bench.run.why(0)[0].held_by, ["on_call:web"]);
    bench.tell(&Command::Approve { step: Some(0), by: by(2, duty(Ok(2))) });
    assert_eq!(status(&bench), RunStatus::Completed);
    let config = json!({"approvers": ["on_call:web"], "timeout_seconds": 60});
    let mut bench = Bench::begun(flow("sequential", &[kind("ok", "approval", config)], json!({})));
    bench.tell(&Command::Approve { step: Some(0), by: voter(9, Role::Admin) });
    assert_eq!(status(&bench), RunStatus::Completed, "an admin may, as for a role");
}

#[test]
fn whoever_starts_a_run_does_not_approve_it() {
    let decided = |allow: bool, triggered_by: &str, approved: bool| {
        let config = json!({"allow_self": allow});
        let mut bench = Bench::new(flow("sequential", &[kind("ok", "approval", config)], json!({})));
        Arc::get_mut(&mut bench.run.header).unwrap().triggered_by = triggered_by.into();
        bench.tell(&Command::Begin);
        let (step, by) = (Some(0), person());
        bench.decide(&if approved { Command::Approve { step, by } } else { Command::Reject { step, by } }).map(drop)
    };
    let other = UserId(Uuid::from_u128(8));
    // The run is owned by who decides, in each of these.
    for own in [format!("user:{BY}"), on_behalf("service:key", BY), on_behalf("run:1", BY), "service:key".to_owned()] {
        for approved in [true, false] {
            assert!(matches!(decided(false, &own, approved), Err(Refusal::NotYours(..))), "{own}");
            decided(true, &own, approved).unwrap();
        }
    }
    for others in [format!("user:{other}"), on_behalf("service:key", other), "webhook:1".to_owned()] {
        decided(false, &others, true).unwrap();
    }
}

#[test]
fn a_probe_finds_out_whether_a_cut_off_attempt_took_effect() {
    let verify =
        json!({"on_unknown_outcome": "verify", "verify": {"action_type": "noop", "action_payload": {"ask": 1}}});
    let cut_off = || {
        let mut bench = Bench::begun(flow("sequential", &[step("a", &verify)], json!({})));
        let decision = bench.tell(&Command::Recover { under_way: vec![] });
        let [Effect::StartAttempt { attempt: 1, payload, part: PlanRef::Verify(0), .. }] = &decision.effects[..] else {
            panic!("{decision:?}")
        };
        assert_eq!(**payload, json!({"ask": 1}));
        bench
    };
    let mut took_effect = cut_off();
    took_effect.completes(0);
    assert_eq!((status(&took_effect), took_effect.log.len()), (RunStatus::Completed, 2));
    let mut did_not = cut_off();
    let decision = did_not.fails(0);
    assert!(matches!(&decision.effects[..], [Effect::StartAttempt { attempt: 2, part: PlanRef::Step(0), .. }]));
    did_not.completes(0);
    assert_eq!(status(&did_not), RunStatus::Completed);
}

#[test]
fn a_failure_can_pause_the_run_for_a_person() {
    let steps = [step("a", json!({"on_error": "pause"})), step("b", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    bench.fails(0);
    assert_eq!(status(&bench), RunStatus::Paused);
    assert!(bench.run.why(0)[0].message.contains("step 'a': no"), "{:?}", bench.run.why(0));
    let mut retried = bench.run.clone();
    bench.tell(&Command::Retry { step: None });
    assert_eq!(bench.letters(), "IB");
    std::mem::swap(&mut bench.run, &mut retried);
    bench.tell(&Command::Resume);
    assert_eq!(status(&bench), RunStatus::Failed);
}

#[test]
fn cancelling_a_step_cancels_what_stands_in_it() {
    let mut bench = Bench::begun(flow("sequential", &[each(json!({}))], json!({})));
    bench.tell(&Command::CancelStep { step: 0 });
    assert_eq!(bench.letters(), "W");
    bench.ends(3, Outcome::Cancelled);
    bench.ends(5, Outcome::Cancelled);
    assert_eq!((bench.letters(), status(&bench)), ("X".to_owned(), RunStatus::Cancelled));
}

#[test]
fn an_approvals_form_is_checked_and_completed() {
    let form = json!({"type": "object", "required": ["ticket"], "additionalProperties": false, "properties": {
        "ticket": {"type": "string", "pattern": "^OPS-"}, "grace": {"type": "integer", "default": 30}}});
    let ask = kind("ok", "approval", json!({"required": 2, "form": form}));
    let tell = kind("tell", "transform", json!({"values": {"grace": "steps.ok.output.form.grace"}}));
    let mut bench = Bench::begun(flow("sequential", &[ask, tell], json!({})));
    let approve = |user: u128, form: Value| {
        let by = Voter { form: Arc::new(form), ..voter(user, Role::Operator) };
        Command::Approve { step: Some(0), by }
    };
    let refused = |bench: &Bench, form: Value| match bench.decide(&approve(1, form)) {
        Err(Refusal::BadForm(0, problems)) => problems.into_iter().map(|problem| problem.pointer).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&bench, Value::Null), ["/ticket"]);
    assert_eq!(refused(&bench, json!({"ticket": "x", "more": 1})), ["/more", "/ticket"]);
    bench.tell(&approve(1, json!({"ticket": "OPS-1"})));
    reload(&mut bench);
    let decided = bench.tell(&approve(2, json!({"ticket": "OPS-2", "grace": 5})));
    assert!(decided.changes.iter().any(|change| matches!(change,
        Change::ApprovalDecided { form, .. } if **form == json!({"ticket": "OPS-2", "grace": 5}))));
    let given = output(&bench, "ok");
    assert_eq!(given["form"], json!({"ticket": "OPS-2", "grace": 5}));
    assert_eq!(given["forms"][UserId(Uuid::from_u128(1)).to_string()], json!({"ticket": "OPS-1", "grace": 30}));
    assert_eq!((output(&bench, "tell"), bench.run.state.forms.len()), (json!({"grace": 5}), 0));

    // Whoever refuses need not fill in anything; what they do fill in must fit.
    let mut no = Bench::begun(flow("sequential", &[kind("ok", "approval", json!({"form": form}))], json!({})));
    let reject = |form: Value| {
        let by = Voter { form: Arc::new(form), ..voter(1, Role::Operator) };
        Command::Reject { step: Some(0), by }
    };
    assert!(matches!(no.decide(&reject(json!({"ticket": 7}))), Err(Refusal::BadForm(..))));
    no.tell(&reject(Value::Null));
    assert_eq!(status(&no), RunStatus::Failed);

    let wrong = flow("sequential", &[kind("ok", "approval", json!({"form": {"type": "objekt"}}))], json!({}));
    let document = FlowDocument::from_value(wrong).unwrap();
    let problems = FlowPlan::compile(&document, &["noop"], &PlanLimits::default()).unwrap_err();
    assert_eq!(problems[0].pointer, "/flow_steps/0/config/form/type");
}
