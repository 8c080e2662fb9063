use core314_domain::breaker::{BreakerPolicy, BreakerState};
use core314_domain::ids::UserId;
use core314_domain::integration::{CallRate, Definition};
use core314_domain::retry::RetryPolicy;
use uuid::Uuid;

use super::*;

fn integration(limits: CallLimits, has_backup: bool) -> Integration {
    let backup_endpoint = has_backup.then(|| "https://b".to_owned());
    let breaker = Some(BreakerPolicy { min_calls: 2, half_open_calls: 1, ..BreakerPolicy::default() });
    Integration {
        id: RowId(Uuid::from_u128(1)),
        owner: Owner::new(UserId(Uuid::from_u128(2)), None),
        name: "crm".to_owned(),
        kind: "http".to_owned(),
        definition: Definition { limits, backup_endpoint, breaker, ..Definition::default() },
        is_active: true,
        version: 1,
        created_at_ms: 1,
        updated_at_ms: 1,
    }
}

fn gates(limits: CallLimits, has_backup: bool) -> (Arc<Gates>, GateName, Arc<Mutex<Vec<u16>>>) {
    let gates = Arc::new(Gates::default());
    let told: Arc<Mutex<Vec<u16>>> = Arc::default();
    let for_tell = told.clone();
    gates.tell_by(Box::new(move |partition, _| for_tell.lock().expect("sound").push(partition)));
    let integration = integration(limits, has_backup);
    let name = (integration.owner.tenant, "crm".into());
    gates.put(&integration, KeptBreakers::default());
    (gates, name, told)
}

fn pass(gates: &Arc<Gates>, name: &GateName, now_ms: i64) -> CallPass {
    gates.enter(name, 7, now_ms).expect("a gate").unwrap_or_else(|blocked| panic!("{blocked:?}"))
}

fn blocked(gates: &Arc<Gates>, name: &GateName, now_ms: i64) -> Blocked {
    gates.enter(name, 7, now_ms).expect("a gate").err().expect("it is blocked")
}

#[test]
fn places_are_given_back_and_whoever_waits_is_told() {
    let limits = CallLimits { concurrency: Some(1), ..CallLimits::default() };
    let (gates, name, told) = gates(limits, false);
    assert!(gates.names(name.0).expect("names").shut.contains("crm"));
    let first = pass(&gates, &name, 0);
    assert_eq!(blocked(&gates, &name, 0), Blocked::Concurrency { max: 1 });
    drop(first);
    assert_eq!(*told.lock().expect("sound"), [7]);
    let second = pass(&gates, &name, 0);
    assert_eq!(second.leave(Health::Good, 1, 1), None);
    assert_eq!(gates.figures(), ([1, 0, 0], 0));
}

#[test]
fn how_what_fails_is_tried_again_is_told_with_the_names() {
    let gates = Arc::new(Gates::default());
    let mut patient = integration(CallLimits::default(), false);
    let tenant = patient.owner.tenant;
    gates.put(&patient, KeptBreakers::default());
    assert!(gates.names(tenant).expect("names").retries.is_empty());
    let policy = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
    patient.definition.retry = Some(policy.clone());
    gates.put(&patient, KeptBreakers::default());
    assert_eq!(gates.names(tenant).expect("names").retries.get("crm"), Some(&policy));
    patient.definition.retry = None;
    gates.put(&patient, KeptBreakers::default());
    assert!(gates.names(tenant).expect("names").retries.is_empty());
}

#[test]
fn a_rate_says_when() {
    let limits = CallLimits { rate: Some(CallRate { max: 10, per_seconds: 1, burst: 1 }), ..CallLimits::default() };
    let (gates, name, _) = gates(limits, false);
    drop(pass(&gates, &name, 1_000));
    let Blocked::Rate { until_ms } = blocked(&gates, &name, 1_000) else { panic!("a rate") };
    assert!((1_100..=1_101).contains(&until_ms), "{until_ms}");
    drop(pass(&gates, &name, until_ms));
}

#[test]
fn a_wish_for_patience_holds_for_everybody() {
    let (gates, name, _) = gates(CallLimits::default(), true);
    let first = pass(&gates, &name, 1_000);
    first.ask_patience(5_000, 1_000);
    assert_eq!(first.leave(Health::Unknown, 1, 1_000), None);
    assert!(gates.names(name.0).expect("names").shut.contains("crm"));
    assert_eq!(blocked(&gates, &name, 5_999), Blocked::Patience { until_ms: 6_000 });
    assert_eq!(gates.blocked(&name, 5_999), Some(Blocked::Patience { until_ms: 6_000 }));
    drop(pass(&gates, &name, 6_000));
    assert!(gates.names(name.0).expect("names").shut.is_empty(), "it is over");
}

#[test]
fn a_backup_takes_over_and_hands_back() {
    let (gates, name, _) = gates(CallLimits::default(), true);
    assert!(gates.names(name.0).expect("names").shut.is_empty(), "nothing is in the way");
    let mut turned = None;
    for _ in 0..2 {
        turned = pass(&gates, &name, 0).leave(Health::Ill, 1, 0);
    }
    assert_eq!(turned.expect("it has opened").kept.state, BreakerState::Open);
    let over = pass(&gates, &name, 1);
    assert!(over.is_backup);
    over.leave(Health::Good, 1, 2);
    let probe = pass(&gates, &name, 30_000);
    assert!(!probe.is_backup, "the primary is asked with care");
    assert!(pass(&gates, &name, 30_000).is_backup, "and by no more than one at once");
    assert_eq!(probe.leave(Health::Good, 1, 30_001).expect("it has closed").kept.state, BreakerState::Closed);
    assert!(!pass(&gates, &name, 30_002).is_backup);
}

#[test]
fn a_backup_is_tried_and_takes_over_by_order() {
    let (gates, name, _) = gates(CallLimits::default(), true);
    let probe = gates.enter_backup(&name, 1).expect("it has a backup");
    assert!(probe.is_backup);
    probe.leave(Health::Good, 1, 1);
    assert!(!pass(&gates, &name, 1).is_backup, "a look changes nothing");
    let turned = gates.switch_to_backup(&name, "escalation:1", 2).expect("it has a backup").expect("it turns");
    assert_eq!((turned.kept.state, turned.kept.until_ms), (BreakerState::Open, Some(30_002)));
    assert_eq!(gates.switch_to_backup(&name, "escalation:1", 3), Ok(None), "done twice it is done once");
    assert!(pass(&gates, &name, 4).is_backup);
    assert_eq!(
        pass(&gates, &name, 30_002).leave(Health::Good, 1, 30_003).expect("closed").kept.state,
        BreakerState::Closed
    );
    assert!(!pass(&gates, &name, 30_004).is_backup, "the primary is healthy again");
    gates.hold(&name, Some(BreakerHold::Closed), "user:1", 30_005).expect("a gate");
    assert_eq!(gates.switch_to_backup(&name, "escalation:1", 30_006), Err(NoBackup::Held));
    let (lone, name, _) = self::gates(CallLimits::default(), false);
    assert_eq!(lone.switch_to_backup(&name, "x", 1), Err(NoBackup::NoEndpoint));
    assert_eq!(lone.switch_to_backup(&(name.0, "gone".into()), "x", 1), Err(NoBackup::Gone));
}

#[test]
fn without_a_backup_an_open_breaker_blocks_until_it_is_asked_again() {
    let (gates, name, told) = gates(CallLimits::default(), false);
    (0..2).for_each(|_| drop(pass(&gates, &name, 0).leave(Health::Ill, 1, 0)));
    assert!(gates.names(name.0).expect("names").shut.contains("crm"));
    assert_eq!(blocked(&gates, &name, 1).until_ms(), Some(30_000));
    assert_eq!(gates.blocked(&name, 1).expect("blocked").until_ms(), Some(30_000));
    gates.hold(&name, Some(BreakerHold::Closed), "user:1", 2).expect("a gate");
    assert_eq!(told.lock().expect("sound").last(), Some(&7));
    drop(pass(&gates, &name, 3));
    gates.hold(&name, None, "user:1", 4).expect("a gate");
    assert!(gates.names(name.0).expect("names").shut.is_empty());
    gates.remove(name.0, RowId(Uuid::from_u128(1)));
    assert!(gates.names(name.0).is_none() && gates.enter(&name, 7, 5).is_none());
}
