//! Actions that the runtime performs by itself: they wait and set as the steps do, without an executor and without a slot.

use super::kinds::{output, reload, reloaded, status};
use super::*;

fn inside(id: &str, action_type: &str, payload: &Value) -> Value {
    json!({"id": id, "config": {"action_type": action_type, "action_payload": payload}})
}

#[test]
fn a_delay_is_a_timer_and_takes_no_slot() {
    let delay = inside("a", "delay", &json!({"seconds": "{{ 20 + 10 }}"}));
    let mut bench = Bench::new(flow("sequential", &[delay, step("b", json!({}))], json!({})));
    bench.slots = 0;
    let begun = bench.tell(&Command::Begin);
    assert_eq!((started(&begun), queued(&begun)), (vec![], vec![]), "nothing is started, and nothing waits for a slot");
    assert_eq!(
        (bench.letters().as_str(), bench.timing(None)),
        ("WB", Timing { queue_key: None, wake_at_ms: Some(30_000) })
    );
    reload(&mut bench);
    bench.at(29_999, &Command::Wake);
    assert_eq!(bench.letters(), "WB");
    bench.slots = 1;
    assert_eq!(started(&bench.at(30_000, &Command::Wake)), [(1, 0)]);
    assert_eq!((&*bench.log[0].action_type, bench.log[0].status), ("delay", ExecutionStatus::Completed));
    let until = inside("a", "delay", &json!({"until": "{{ trigger.later }}"}));
    let bench = Bench::begun(flow("sequential", &[until], json!({})));
    assert_eq!(bench.timing(None).wake_at_ms, Some(60_000));
}

#[test]
fn variables_are_known_to_the_steps_after() {
    let steps = [
        inside("a", "set_variable", &json!({"name": "host", "value": "{{ trigger.host }}.example.com"})),
        inside(
            "b",
            "set_variable",
            &json!({"values": {"list": ["{{ vars.host }}", 1], "host": "{{ vars.host | upper }}"}}),
        ),
        json!({"id": "c", "type": "transform", "config": {"values": {"all": "vars"}}}),
    ];
    let bench = Bench::begun(flow("sequential", &steps, json!({})));
    let all = json!({"host": "WEB-1.EXAMPLE.COM", "list": ["web-1.example.com", 1]});
    assert_eq!((status(&bench), output(&bench, "c")), (RunStatus::Completed, json!({"all": all.clone()})));
    assert_eq!(**reloaded(&bench).output().get().unwrap(), json!({"all": all}));
    let wrong = inside("a", "set_variable", &json!({"name": "x", "value": "{{ trigger.nowhere }}"}));
    let bench = Bench::begun(flow("sequential", &[wrong], json!({})));
    assert_eq!(
        (status(&bench), bench.log[0].failure.as_ref().unwrap().code.as_str()),
        (RunStatus::Failed, "template_error")
    );
}
