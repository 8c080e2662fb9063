//! Running again from a step: what is taken over, what is done, and where it cannot be.

use serde_json::json;

use super::*;

/// What the store would hold of a run.
fn stored(bench: &Bench) -> Vec<LastAttempt> {
    let mut last: BTreeMap<StepNo, LastAttempt> = BTreeMap::new();
    for entry in &bench.log {
        let of = LastAttempt {
            step: entry.step,
            attempt: entry.attempt,
            is_final: entry.is_final,
            result: entry.result.clone().map(Kept::Here),
            error: entry.failure.as_ref().map(|failure| failure.message.clone()),
            reused_from: None,
        };
        last.insert(entry.step, of);
    }
    last.into_values().collect()
}

fn plan_of(document: Value) -> Arc<FlowPlan> {
    let document = FlowDocument::from_value(document).unwrap();
    Arc::new(FlowPlan::compile(&document, &["noop", "other"], &PlanLimits::default()).unwrap())
}

/// A new run of a plan from a step of this one, which has not begun; and what it takes over.
fn new_run(bench: &Bench, more: &[LastAttempt], plan: Arc<FlowPlan>, from: &str) -> Result<(Bench, Reuse), NoReuse> {
    let mut log = stored(bench);
    log.extend_from_slice(more);
    let reuse = bench.run.reuse(&log, &plan, from)?;
    let id = RunId::new(5, u128::from(bench.run.header.partition) + (8 << 24));
    let header = RunHeader { id, parent_run_id: Some(bench.run.header.id), ..RunHeader::clone(&bench.run.header) };
    let run = Run::taking_over(Arc::new(header), plan, &reuse);
    Ok((Bench { run, slots: 10, now_ms: bench.now_ms, log: Vec::new(), gates: None }, reuse))
}

/// The same, begun.
fn again(bench: &Bench, from: &str) -> Result<Bench, NoReuse> {
    let (mut bench, _) = new_run(bench, &[], bench.run.plan.clone(), from)?;
    bench.tell(&Command::Begin);
    Ok(bench)
}

fn refused(bench: &Bench, from: &str) -> String {
    again(bench, from).map(|bench| bench.letters()).unwrap_err().to_string()
}

fn kind(id: &str, word: &str, config: impl Borrow<Value>) -> Value {
    json!({"id": id, "type": word, "config": config.borrow()})
}

#[test]
fn a_new_run_takes_over_what_came_before_and_does_the_rest() {
    let uses = step("c", json!({"config": {"action_payload": {"n": "{{ steps.a.output.n }}"}}}));
    let mut old = Bench::begun(flow("sequential", &[step("a", json!({})), step("b", json!({})), uses], json!({})));
    assert_eq!(
        refused(&old, "b"),
        "the run is running: only a run that has ended is run again; wait for its end, or cancel it"
    );
    old.completes(0);
    old.completes(1);
    old.fails(2);
    assert_eq!(old.letters(), "CCF");
    let (mut new, reuse) = new_run(&old, &[], old.run.plan.clone(), "c").unwrap();
    assert_eq!((new.letters(), reuse.steps.len()), ("CCB".to_owned(), 2));
    let begin = new.tell(&Command::Begin);
    let Effect::StartAttempt { step: 2, attempt: 0, payload, .. } = &begin.effects[0] else { panic!("{begin:?}") };
    assert_eq!(payload["n"], 0, "what it did not do, it knows");
    new.completes(2);
    assert_eq!((new.run.state.status, new.log.len()), (RunStatus::Completed, 1));
    assert_eq!(**new.run.output().get().expect("it is at hand"), json!({"n": 2}));

    // A run of that one: what it had taken over still names the execution that did it.
    let (third, reuse) = new_run(&new, &reuse.outcomes().collect::<Vec<_>>(), new.run.plan.clone(), "b").unwrap();
    assert_eq!(third.letters(), "CBB");
    assert_eq!(reuse.steps[&0].outcome.as_ref().unwrap().from, old.run.header.id.execution(0));
}

#[test]
fn a_run_that_took_outcomes_over_has_them_after_a_restart() {
    let mut old = Bench::begun(flow("sequential", &two(), json!({})));
    old.completes(0);
    old.fails(1);
    let (mut new, reuse) = new_run(&old, &[], old.run.plan.clone(), "b").unwrap();
    new.tell(&Command::Begin);
    let saved = new.run.save();
    assert!(saved.state.starts_with(r#"{"v":3,"s":"CI""#), "{}", saved.state);
    let state = RunState::load(&saved).unwrap();
    assert_eq!(state, new.run.state);
    let loaded =
        Run::rehydrate(new.run.header.clone(), new.run.plan.clone(), state, &reuse.outcomes().collect::<Vec<_>>());
    assert_eq!(format!("{:?}", loaded.results), format!("{:?}", new.run.results));
    assert_eq!(loaded.attempts, new.run.attempts);
}

#[test]
fn what_did_not_complete_and_does_not_come_before_is_done_again() {
    // a → c, b → d; from c: b had failed, and is done too.
    let steps = [
        after("a", &[], json!({})),
        after("b", &[], json!({})),
        after("c", &["a"], json!({})),
        after("d", &["b"], json!({})),
        after("e", &[], json!({"when": "false"})),
    ];
    let mut old = Bench::begun(flow("mixed", &steps, json!({"on_error_action": "continue"})));
    old.completes(0);
    old.fails(1);
    old.completes(2);
    assert_eq!(old.letters(), "CFCUS");
    let new = again(&old, "c").unwrap();
    assert_eq!(new.letters(), "CIIBS");
    assert_eq!(
        refused(&old, "d"),
        "step 'd' was never reached: step 'b' before it is failed; retry the run, or run it again from 'b'"
    );
    assert_eq!(refused(&old, "cc"), "the flow has no step 'cc'; did you mean `c`?");
}

#[test]
fn a_tolerated_failure_is_an_outcome_too() {
    let steps = [step("a", json!({"on_error": "continue"})), step("b", json!({"when": "steps.a.error == 'no'"}))];
    let mut old = Bench::begun(flow("sequential", &steps, json!({})));
    old.fails(0);
    old.completes(1);
    let mut new = again(&old, "b").unwrap();
    assert_eq!(new.letters(), "FI");
    new.completes(1);
    assert_eq!(new.run.state.status, RunStatus::Completed);
}

#[test]
fn a_step_in_a_branch_or_a_lane_is_begun_with_the_steps_around_it() {
    let branch = kind(
        "way",
        "branch",
        json!({"cases": [{"when": "steps.a.output.n == 0", "steps": [step("l1", json!({})), step("l2", json!({}))]}],
        "default": [step("r", json!({}))]}),
    );
    let steps = [step("a", json!({})), branch, step("z", json!({}))];
    let mut old = Bench::begun(flow("sequential", &steps, json!({})));
    let no = |bench: &Bench, id: &str| bench.run.plan.steps.iter().position(|s| &*s.id == id).unwrap() as StepNo;
    old.completes(no(&old, "a"));
    old.completes(no(&old, "l1"));
    old.fails(no(&old, "l2"));
    assert_eq!(old.run.state.status, RunStatus::Failed);
    let mut new = again(&old, "l2").unwrap();
    let letter = |bench: &Bench, id: &str| bench.run.state.steps[no(bench, id) as usize].status.letter();
    assert_eq!(["a", "way", "l1", "l2", "r", "z"].map(|id| letter(&new, id)), ['C', 'W', 'C', 'I', 'U', 'B']);
    new.completes(no(&new, "l2"));
    new.completes(no(&new, "z"));
    assert_eq!((new.run.state.status, new.log.len()), (RunStatus::Completed, 3), "l2, the branch itself, z");
    let later = again(&new, "z").map(|bench| bench.letters());
    assert!(
        matches!(&later, Err(NoReuse::Gone { before }) if before == "a"),
        "without what it had taken over: {later:?}"
    );
    assert_eq!(refused(&old, "r"), "step 'r' was never reached: a branch took another way");
}

#[test]
fn a_loop_is_taken_over_whole_or_begun_anew_and_values_are_those_of_then() {
    let body = [kind("count", "set", json!({"values": {"last": "loop.item"}})), step("call", json!({}))];
    let steps = [
        kind("first", "set", json!({"values": {"last": "0", "kept": "true"}})),
        kind("each", "for_each", json!({"collection": "[1, 2]", "steps": body})),
        step("then", json!({"config": {"action_payload": {"last": "{{ vars.last }}", "kept": "{{ vars.kept }}"}}})),
        kind("later", "set", json!({"values": {"last": "9"}})),
    ];
    let mut old = Bench::begun(flow("sequential", &steps, json!({})));
    while old.run.state.status == RunStatus::Running {
        let no = under_way(&old).unwrap();
        old.completes(no);
    }
    assert_eq!(*old.run.state.vars, json!({"last": 9, "kept": true}));
    let (mut new, reuse) = new_run(&old, &[], old.run.plan.clone(), "then").unwrap();
    let begin = new.tell(&Command::Begin);
    let Effect::StartAttempt { payload, .. } = &begin.effects[0] else { panic!("{begin:?}") };
    assert_eq!(
        **payload,
        json!({"host": "web-1", "last": 2, "kept": true}),
        "what the last round had set, and not what came later"
    );
    let anew = again(&old, "each").unwrap();
    assert_eq!((*anew.run.state.vars).clone(), json!({"last": 1, "kept": true}), "its first round has set it already");
    assert_eq!(
        refused(&old, "call"),
        "step 'call' stands in the rounds of 'each', which begin together: run it again from 'each'"
    );
    // What the loop set in its rounds stands in the first run's log alone.
    new.completes(2);
    let third = new_run(&new, &reuse.outcomes().collect::<Vec<_>>(), new.run.plan.clone(), "later").map(|_| ());
    assert!(matches!(&third, Err(NoReuse::ValuesUnknown { before }) if before == "each"), "{third:?}");
}

/// A step a phase, each with an undo.
fn pipeline(more: Value) -> Bench {
    let undo = json!({"action_type": "noop", "action_payload": {}});
    let steps: Vec<Value> = (1..=4).map(|n| step(&format!("p{n}"), json!({"phase": n, "undo": undo}))).collect();
    Bench::begun(flow("parallel", &steps, more))
}

#[test]
fn a_run_begins_in_the_phase_of_its_step_and_takes_back_only_what_it_did() {
    let mut old = pipeline(json!({"rollback": {"to": "off"}}));
    assert_eq!(old.letters(), "IBBB");
    old.completes(0);
    old.completes(1);
    old.fails(2);
    assert_eq!((old.run.state.status, old.letters()), (RunStatus::Failed, "CCFX".to_owned()));
    assert_eq!(
        refused(&old, "p4"),
        "step 'p4' was never reached: the run ended before phase 4; retry it, or run it again from an earlier step"
    );

    let plan = plan_of({
        let undo = json!({"action_type": "noop", "action_payload": {}});
        let steps: Vec<Value> = (1..=4).map(|n| step(&format!("p{n}"), json!({"phase": n, "undo": undo}))).collect();
        flow("parallel", &steps, json!({"rollback": {"to": "start", "then": "retry", "retries": 1}}))
    });
    let (mut new, _) = new_run(&old, &[], plan, "p3").unwrap();
    new.tell(&Command::Begin);
    assert_eq!((new.letters(), new.run.state.phase.current), ("CCIB".to_owned(), 3));
    new.completes(2);
    assert_eq!(new.run.undo_plan(0), [2]);
    new.fails(3);
    assert_eq!(
        (new.run.state.status, new.run.state.loose.len()),
        (RunStatus::Compensating, 1),
        "p3, and not what it took over"
    );
    let undo = *new.run.state.loose.keys().next().unwrap();
    new.completes(undo);
    assert_eq!((new.letters(), new.run.state.phase.current), ("CCIB".to_owned(), 3), "it goes on where it began");
    new.completes(2);
    new.completes(3);
    assert_eq!(new.run.state.status, RunStatus::Completed);
}

#[test]
fn what_was_taken_back_is_not_taken_over() {
    let mut old = pipeline(json!({"rollback": {"to": 1}}));
    old.completes(0);
    old.completes(1);
    old.fails(2);
    let undo = *old.run.state.loose.keys().next().unwrap();
    old.completes(undo);
    assert_eq!(old.run.state.status, RunStatus::RolledBack);
    let new = again(&old, "p2").unwrap();
    assert_eq!(new.letters(), "CIBB");
    let new = again(&old, "p3").unwrap();
    assert_eq!(
        (new.letters(), new.run.state.phase.current),
        ("CIBB".to_owned(), 2),
        "its phase waits for the one that was taken back"
    );

    let steps = [step("a", json!({"undo": {"action_type": "noop", "action_payload": {}}})), step("b", json!({}))];
    let mut old = Bench::begun(flow("sequential", &steps, json!({"on_error_action": "rollback"})));
    old.completes(0);
    old.fails(1);
    old.completes(2);
    assert_eq!(old.run.state.status, RunStatus::RolledBack);
    assert_eq!(refused(&old, "b"), "what step 'a' did was taken back: run it again from 'a', or restart the run");
}

#[test]
fn another_version_fits_where_all_that_comes_before_is_known() {
    let mut old = Bench::begun(flow("sequential", &two(), json!({})));
    old.completes(0);
    old.fails(1);
    let version = |steps: &[Value]| {
        new_run(&old, &[], plan_of(flow("sequential", steps, json!({}))), "b").map(|(new, _)| new.letters())
    };
    let (a, b) = (|| step("a", json!({})), || step("b", json!({})));
    assert_eq!(version(&[a(), b(), step("c", json!({}))]), Ok("CBB".to_owned()));
    assert_eq!(version(&[b()]), Ok("B".to_owned()), "a step that is gone is not missed");
    assert_eq!(
        version(&[a(), step("x", json!({})), b()]).unwrap_err().to_string(),
        "the version does not fit: step 'x' comes before 'b', and the run did not have it; run it again from 'x'"
    );
    let other = step("a", json!({"config": {"action_type": "other"}}));
    assert!(version(&[other, b()]).unwrap_err().to_string().contains("it was another kind of step"));
    let bare = old.run.reuse(&[], &old.run.plan, "b").unwrap_err();
    assert_eq!(bare.to_string(), "the log does not have the result of step 'a' any more: restart the run");
}

#[test]
fn a_retry_of_such_a_run_leaves_alone_what_it_took_over() {
    let mut old = Bench::begun(flow("sequential", &two(), json!({})));
    old.completes(0);
    old.fails(1);
    let mut new = again(&old, "b").unwrap();
    new.fails(1);
    assert_eq!(new.run.state.status, RunStatus::Failed);
    new.tell(&Command::Retry { step: None });
    assert_eq!(new.letters(), "CI");
    new.completes(1);
    assert_eq!(new.run.state.status, RunStatus::Completed);
}

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// A graph of up to nine steps, some of which are skipped, tolerated, or content with any of their inputs.
fn drawn(draw: &mut Draw) -> Value {
    let count = 3 + draw.below(7);
    let steps: Vec<Value> = (0..count)
        .map(|no| {
            let inputs: Vec<String> = (0..no).filter(|_| draw.below(3) == 0).map(|input| format!("s{input}")).collect();
            let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let mut more = json!({"retry": {"max_attempts": 1}});
            match draw.below(6) {
                0 => more["when"] = json!("false"),
                1 => more["on_error"] = json!("continue"),
                2 if !names.is_empty() => more["dependency_mode"] = json!("any"),
                _ => {}
            }
            after(&format!("s{no}"), &names, more)
        })
        .collect();
    flow("mixed", &steps, json!({"on_error_action": "continue"}))
}

/// The first step with an attempt under way.
fn under_way(bench: &Bench) -> Option<StepNo> {
    let found = bench.run.state.all().find(|(_, step)| step.status == StepStatus::InProgress);
    found.map(|(no, _)| no)
}

/// Lets every attempt under way end, well or as drawn, until nothing is under way.
fn play(bench: &mut Bench, mut is_bad: impl FnMut() -> bool) {
    while let Some(no) = under_way(bench) {
        if is_bad() {
            bench.fails(no);
        } else {
            bench.completes(no);
        }
    }
    assert!(bench.run.state.status.is_terminal(), "{}", bench.letters());
}

#[test]
fn random_graphs_are_run_again_from_every_step() {
    let (mut begun, mut refused) = (0, 0);
    for seed in 0..300 {
        let mut draw = Draw(seed);
        let document = drawn(&mut draw);
        let mut old = Bench::begun(document);
        play(&mut old, || draw.below(4) == 0);
        for from in old.run.plan.steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>() {
            let Ok((mut new, reuse)) = new_run(&old, &[], old.run.plan.clone(), &from) else {
                refused += 1;
                continue;
            };
            let before = new.letters();
            new.tell(&Command::Begin);
            play(&mut new, || false);
            begun += 1;
            let what = || format!("seed {seed}, from {from}: {} -> {before} -> {}", old.letters(), new.letters());
            let done: Vec<StepNo> = new.log.iter().map(|entry| entry.step).collect();
            assert!(done.iter().all(|no| !reuse.steps.contains_key(no)), "{}: what was taken over is not done", what());
            for (no, reused) in &reuse.steps {
                assert_eq!(new.run.state.steps[*no as usize].status, reused.status, "{}", what());
            }
            let first = new.run.plan.steps.iter().position(|step| step.id == from).unwrap() as StepNo;
            let ended = new.run.state.steps[first as usize].status;
            assert!(done.contains(&first) || ended == StepStatus::SkippedByWhen, "{}: it begins there", what());
            // All that completed and does not follow the step is taken over, but for what follows something that is done again.
            let lost = (0..old.run.plan.fixed as StepNo).filter(|no| {
                let was_done = old.run.state.steps[*no as usize].status == StepStatus::Completed;
                was_done && done.contains(no) && *no != first
            });
            for no in lost {
                let inputs = &new.run.plan.steps[no as usize].inputs;
                assert!(
                    inputs.iter().any(|input| !reuse.steps.contains_key(input)),
                    "{}: {no} needs nothing new",
                    what()
                );
            }
        }
    }
    assert!(begun > 500 && refused > 100, "{begun} begun, {refused} refused");
}
