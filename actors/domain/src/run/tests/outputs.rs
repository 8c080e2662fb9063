//! What runs give: computed and checked by their `output_schema`.

use super::kinds::{kind, status};
use super::*;
use crate::words::RunStatus;

fn bench(schema: &Value, steps: &[Value]) -> Bench {
    Bench::begun(flow("sequential", steps, json!({"output_schema": schema})))
}

fn values(id: &str, values: &Value) -> Value {
    kind(id, "transform", json!({"values": values}))
}

fn error(bench: &Bench) -> String {
    bench.run.state.error.clone().unwrap_or_default()
}

#[test]
fn an_output_is_made_by_the_mapping_of_its_schema() {
    let schema = json!({"type": "object", "properties": {
        "host": {"type": "string", "x-value": "trigger.host"},
        "total": {"type": "integer", "x-value": "steps.a.output.n + steps.b.output.n"},
        "about": {"type": "object", "properties": {"flow": {"x-value": "flow.name"}, "unit": {"default": "ms"}}},
        "note": {"type": "string"}}, "required": ["host", "total"], "additionalProperties": false});
    let steps = [values("a", &json!({"n": "1"})), values("b", &json!({"n": "2"}))];
    let mapped = bench(&schema, &steps);
    assert_eq!(status(&mapped), RunStatus::Completed, "{}", error(&mapped));
    assert_eq!(
        **mapped.run.output().get().unwrap(),
        json!({"host": "web-1", "total": 3, "about": {"flow": "f", "unit": "ms"}})
    );
    let whole = bench(&json!({"x-value": "[steps.a.output.n]", "type": "array"}), &steps);
    assert_eq!(**whole.run.output().get().unwrap(), json!([1]));
}

#[test]
fn an_output_that_does_not_fit_fails_the_run_in_words() {
    let steps = [values("a", &json!({"n": "'many'"}))];
    let wrong = bench(&json!({"properties": {"n": {"type": "integer"}}, "required": ["n", "m"]}), &steps);
    assert_eq!(status(&wrong), RunStatus::Failed);
    let told = error(&wrong);
    assert_eq!(told, "the output does not fit output_schema: /m is required; /n must be of type integer");
    let fits = bench(&json!({"properties": {"n": {"type": "string"}}}), &steps);
    assert_eq!((status(&fits), fits.run.state.output.is_none()), (RunStatus::Completed, true));
    let none = bench(&json!({"properties": {"n": {"x-value": "trigger.port"}}}), &steps);
    assert!(error(&none).starts_with("the output cannot be computed: /n: "), "{}", error(&none));
}

#[test]
fn what_a_stop_says_goes_before_the_mapping_and_is_checked() {
    let stop = |output: &Value| [kind("s", "stop", json!({"status": "completed", "output": output}))];
    let schema = || json!({"properties": {"n": {"type": "integer", "x-value": "7"}}});
    assert_eq!(**bench(&schema(), &stop(&json!({"n": 1}))).run.output().get().unwrap(), json!({"n": 1}));
    assert_eq!(status(&bench(&schema(), &stop(&json!({"n": "1"})))), RunStatus::Failed);
}

#[test]
fn a_mapping_is_checked_when_it_is_saved() {
    let pointers = |schema: &Value, is_new: bool| {
        let document = flow("sequential", &[step("a", json!({}))], json!({"output_schema": schema}));
        let document = FlowDocument::from_value(document).unwrap();
        let limits = PlanLimits::default();
        let plan = if is_new {
            FlowPlan::compile(&document, &["noop"], &limits)
        } else {
            FlowPlan::load(&document, &["noop"], &limits)
        };
        plan.err().unwrap_or_default().into_iter().map(|problem| problem.pointer).collect::<Vec<_>>()
    };
    let unknown = json!({"properties": {"n": {"x-value": "steps.z.output"}}});
    assert_eq!(pointers(&unknown, true), ["/output_schema/properties/n/x-value"]);
    assert_eq!(pointers(&json!({"x-value": 7}), true), ["/output_schema/x-value"]);
    let strange = json!({"anyOf": []});
    assert_eq!(pointers(&strange, true), ["/output_schema/anyOf"]);
    assert_eq!(pointers(&strange, false), [""; 0], "what an earlier release took goes on");
}
