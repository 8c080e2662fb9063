use uuid::Uuid;

use super::*;
use crate::clock::TestClock;
use crate::fairness::TenantLimits;

type Called = Arc<Mutex<Vec<(u16, TenantId)>>>;

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

fn gates(limits: ActionLimits) -> (Arc<Gates>, Called) {
    gates_at(limits, Arc::default())
}

fn gates_at(limits: ActionLimits, clock: Arc<TestClock>) -> (Arc<Gates>, Called) {
    let gates = Arc::new(Gates::with_limits(limits, clock));
    let called = Called::default();
    let for_tell = called.clone();
    gates.tell_by(Box::new(move |partition, (tenant, name)| {
        assert!(name.is_empty());
        for_tell.lock().expect("sound").push((partition, *tenant));
    }));
    (gates, called)
}

/// Asks for a share; why there is none.
fn ask(gates: &Arc<Gates>, tenant: TenantId, partition: u16, now_ms: i64) -> Result<Share, NoShare> {
    gates.share(tenant, partition, now_ms).map(|share| share.expect("it is bounded"))
}

fn taken(called: &Called) -> Vec<(u16, TenantId)> {
    std::mem::take(&mut *called.lock().expect("sound"))
}

const fn full(is_overall: bool, max: u32) -> NoShare {
    NoShare { is_overall, full: Full::Concurrent { max } }
}

#[test]
fn a_tenants_limit_holds_its_own_actions_and_nobody_elses() {
    let (a, b) = (tenant(1), tenant(2));
    let (gates, called) = gates(ActionLimits { per_tenant_concurrent: 1, ..ActionLimits::default() });
    let first = ask(&gates, a, 1, 0).expect("there is room");
    assert_eq!(ask(&gates, a, 1, 0).err(), Some(full(false, 1)));
    assert_eq!((ask(&gates, a, 2, 0).err(), gates.share_blocked(a, 0)), (Some(full(false, 1)), Some(full(false, 1))));
    let other = ask(&gates, b, 1, 0);
    assert!(other.is_ok(), "another tenant has its own");
    drop(first);
    assert_eq!(taken(&called), [(1, a)], "the first that waits is called");
    assert_eq!(ask(&gates, a, 2, 1).err(), Some(full(false, 1)), "nobody slips in before it");
    let second = ask(&gates, a, 1, 2);
    drop(second);
    assert_eq!(taken(&called), [(2, a)]);
}

#[test]
fn a_flood_of_one_tenant_takes_no_turn_of_another() {
    let (flood, other) = (tenant(1), tenant(2));
    let (gates, called) = gates(ActionLimits { overall_concurrent: 1, ..ActionLimits::default() });
    let mut held = ask(&gates, flood, 0, 0).ok();
    for partition in 0..8 {
        assert_eq!(ask(&gates, flood, partition, 0).err(), Some(full(true, 1)));
    }
    assert_eq!(ask(&gates, other, 5, 0).err(), Some(full(true, 1)));
    let mut turns = Vec::new();
    for _ in 0..6 {
        drop(held.take());
        let [(partition, tenant)] = taken(&called)[..] else { panic!("one is called") };
        held = ask(&gates, tenant, partition, 1).ok();
        assert!(held.is_some(), "whoever is called comes in");
        // It has more to do.
        assert!(ask(&gates, tenant, partition, 1).is_err());
        turns.push(tenant == other);
    }
    assert_eq!(turns, [false, true, false, true, false, true]);
}

#[test]
fn actions_that_take_longer_than_a_place_is_kept_take_nobodys_turn() {
    let (a, b) = (tenant(1), tenant(2));
    let clock = Arc::new(TestClock::default());
    let (gates, called) = gates_at(ActionLimits { overall_concurrent: 1, ..ActionLimits::default() }, clock.clone());
    let mut held = ask(&gates, a, 1, 0).ok();
    assert!(ask(&gates, a, 1, 0).is_err() && ask(&gates, b, 2, 0).is_err());
    let mut turns = Vec::new();
    for _ in 0..10 {
        clock.advance(3_000);
        drop(held.take());
        let [(partition, tenant)] = taken(&called)[..] else { panic!("one is called") };
        let now_ms = clock.now_ms();
        held = ask(&gates, tenant, partition, now_ms).ok();
        assert!(held.is_some(), "whoever is called comes in");
        // It has more to do.
        assert!(ask(&gates, tenant, partition, now_ms).is_err());
        turns.push(tenant == b);
    }
    assert_eq!(turns, [false, true].repeat(5));
    // Also who comes late has its place, where nobody else has asked meanwhile.
    clock.advance(3_000);
    drop(held.take());
    let [(partition, tenant)] = taken(&called)[..] else { panic!("one is called") };
    assert!(ask(&gates, tenant, partition, clock.now_ms() + CALL_MS).is_ok());
}

#[test]
fn a_place_that_nobody_comes_to_is_passed_on() {
    let a = tenant(1);
    let (gates, called) = gates(ActionLimits { overall_concurrent: 1, ..ActionLimits::default() });
    let first = ask(&gates, a, 1, 0);
    for partition in [2, 3, 4] {
        assert!(ask(&gates, a, partition, 0).is_err());
    }
    drop(first);
    assert_eq!(taken(&called), [(2, a)]);
    gates.pass_on(a, 2);
    assert_eq!(taken(&called), [(3, a)]);
    gates.pass_on(a, 2);
    assert!(taken(&called).is_empty(), "it was not called any more");
    // The third is started again just now, and hears nothing.
    assert!(ask(&gates, a, 4, CALL_MS - 1).is_err());
    assert!(ask(&gates, a, 4, CALL_MS).is_ok());
}

#[test]
fn who_has_read_the_clock_earlier_takes_nobodys_place() {
    let (a, clock) = (tenant(1), Arc::new(TestClock::at(100)));
    let (gates, called) = gates_at(ActionLimits { overall_concurrent: 1, ..ActionLimits::default() }, clock);
    let first = ask(&gates, a, 1, 100);
    assert!(ask(&gates, a, 2, 100).is_err());
    drop(first);
    assert_eq!(taken(&called), [(2, a)]);
    assert!(ask(&gates, a, 3, 99).is_err(), "the place is kept");
    assert!(ask(&gates, a, 2, 100).is_ok());
}

#[test]
fn a_rate_says_when_and_a_tenant_may_have_its_own() {
    let (a, named) = (tenant(1), tenant(2));
    let tenants = TenantLimits::try_from(vec![format!("{named}=1/0")]).expect("limits");
    let (gates, called) = gates(ActionLimits { per_tenant_per_second: 2, tenants, ..ActionLimits::default() });
    drop((ask(&gates, a, 1, 1_000).ok(), ask(&gates, a, 1, 1_000).ok()));
    let no_share = ask(&gates, a, 1, 1_000).err().expect("two are two");
    let Full::Rate { per_second: 2, until_ms } = no_share.full else { panic!("{no_share:?}") };
    assert!(!no_share.is_overall && (1_500..=1_501).contains(&until_ms), "{no_share:?}");
    assert!(ask(&gates, a, 1, until_ms).is_ok());
    let kept = ask(&gates, named, 1, 1_000);
    assert_eq!((kept.is_ok(), ask(&gates, named, 1, 1_000).err()), (true, Some(full(false, 1))));
    assert!(taken(&called).is_empty());
}

#[test]
fn what_never_starts_takes_nothing_of_a_rate() {
    let a = tenant(1);
    let limits = ActionLimits { per_tenant_concurrent: 1, overall_per_second: 2, ..ActionLimits::default() };
    let (gates, called) = gates(limits);
    for _ in 0..5 {
        ask(&gates, a, 1, 0).unwrap_or_else(|no| panic!("{no:?}")).unused();
    }
    // Nor does a place to which nobody comes.
    let first = ask(&gates, a, 1, 0);
    assert!(first.is_ok() && ask(&gates, a, 2, 0).is_err());
    drop(first);
    assert_eq!(taken(&called), [(2, a)]);
    gates.pass_on(a, 2);
    let second = ask(&gates, a, 1, 0);
    assert!(second.is_ok(), "one token was used");
    drop(second);
    let no_share = ask(&gates, a, 1, 0).err().expect("two are used");
    assert!(matches!(no_share.full, Full::Rate { per_second: 2, .. }), "{no_share:?}");
}

#[test]
fn a_limit_beside_a_rate_is_reached() {
    let (a, clock) = (tenant(1), Arc::new(TestClock::default()));
    let limits = ActionLimits { per_tenant_concurrent: 1, per_tenant_per_second: 5, ..ActionLimits::default() };
    let (gates, called) = gates_at(limits, clock.clone());
    let name = (a, no_gate());
    let (mut due, mut under_way, mut starts) = ([0, 0], None, 0);
    for now_ms in 0..10_000 {
        if now_ms % 50 == 0 {
            drop(under_way.take());
        }
        for (partition, _) in taken(&called) {
            due[usize::from(partition)] = now_ms;
        }
        for partition in 0..2_u16 {
            let due = &mut due[usize::from(partition)];
            if *due > now_ms {
                continue;
            }
            match gates.pass(&name, partition, now_ms) {
                Ok(passes) => {
                    assert!(under_way.replace(passes).is_none(), "one at once");
                    starts += 1;
                }
                Err(wait) => *due = wait.until_ms.expect("a share's time is known"),
            }
        }
        clock.advance(1);
    }
    assert!((50..=55).contains(&starts), "{starts} in ten seconds");
}

#[test]
fn where_nothing_is_bounded_nobody_is_counted() {
    let (named, other) = (tenant(1), tenant(2));
    let tenants = TenantLimits::try_from(vec![format!("{named}=1/0")]).expect("limits");
    let (gates, _) = gates(ActionLimits { tenants, ..ActionLimits::default() });
    assert!(gates.names(named).is_some_and(|names| names.asks_all));
    assert!(gates.names(other).is_none() && !gates.bind(other));
    let name = (other, no_gate());
    assert!((0..100).all(|_| gates.pass(&name, 1, 0).is_ok_and(|passes| passes.is_empty())));
    let name = (named, no_gate());
    let first = gates.pass(&name, 1, 0);
    assert!(first.as_ref().is_ok_and(|passes| passes.share.is_some()));
    assert_eq!(gates.pass(&name, 1, 0).err(), Some(Wait { until_ms: Some(ASK_AGAIN_MS), is_share: true }));
    drop(first);
    assert!(gates.share_now(named).is_some(), "what cannot wait counts");
}

#[test]
fn tenants_that_do_nothing_are_forgotten() {
    let (gates, _) = gates(ActionLimits { overall_concurrent: 1, ..ActionLimits::default() });
    for number in 0..4_000 {
        drop(ask(&gates, tenant(number), 1, 0));
    }
    assert!(gates.shares.state().tenants.len() <= SWEEP_AT, "one after the other leaves nothing behind");
}
