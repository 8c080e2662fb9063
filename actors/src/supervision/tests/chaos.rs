//! Whole trees under random panics, seeded: what must hold whatever happens.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    model::{Child, Otp, Step},
    policy::seed,
    *,
};

/// The real tree makes the same steps as the naive model of OTP, death by death.
#[test]
fn the_tree_on_actix_does_what_otp_does() {
    let mut rng = StdRng::seed_from_u64(seed());
    for round in 0..60 {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][round % 3];
        let kinds: Vec<Restart> = (0..rng.random_range(1..6))
            .map(|_| {
                [Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary][rng.random_range(0..4)]
            })
            .collect();
        let deaths: Vec<(usize, bool)> = (0..20).map(|_| (rng.random_range(0..100), rng.random_bool(0.7))).collect();
        let max_restarts = rng.random_range(0..8);
        println!("round {round}: {strategy:?} {kinds:?} at most {max_restarts}");
        paused(async || one_round(strategy, &kinds, &deaths, max_restarts).await);
    }
}

async fn one_round(strategy: Strategy, kinds: &[Restart], deaths: &[(usize, bool)], max_restarts: u32) {
    let log = Log::default();
    let within = 50 * SECOND;
    let tree = tree(quick(strategy).intensity(max_restarts, within), Hooks::default());
    let mut otp = Otp {
        strategy,
        max_restarts: max_restarts as usize,
        within,
        children: Vec::new(),
        restarts: Vec::new(),
        alive: true,
    };
    let mut actors = Vec::new();
    for (id, restart) in (0..).zip(kinds.iter().copied()) {
        actors.push(probe(tree.root(), ChildSpec::new(id.to_string()).restart(restart), &log));
        otp.children.push(Child { id, restart, running: true });
    }
    let began = tokio::time::Instant::now();
    pass(MS).await;
    log.take();
    for (which, abnormally) in deaths {
        pass(7 * SECOND).await;
        let running: Vec<u64> = otp.children.iter().filter(|child| child.running).map(|child| child.id).collect();
        if running.is_empty() {
            break;
        }
        let id = running[which % running.len()];
        actors[id as usize].tell(if *abnormally { Say::Panic(None) } else { Say::Stop }).unwrap();
        let steps = otp.child_ends(id, *abnormally, began.elapsed());
        pass(MS).await;
        // The model does not speak of the child that ended by itself, nor does a list of lines of forgetting.
        let expected: Vec<String> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Stop(id) => Some(format!("asked {id}")),
                Step::Start(id) => Some(format!("start {id}")),
                Step::Forget(_) | Step::GiveUp => None,
            })
            .collect();
        assert_eq!(only(log.take(), &["asked", "start"]), expected, "after {id} ended");
        for child in &otp.children {
            assert_eq!(actors[child.id as usize].is_live(), child.running, "{child:?}");
        }
    }
    let end = if otp.alive { tree.stop().await } else { tree.ended().await };
    assert_eq!(end.is_abnormal(), !otp.alive);
    pass(MS).await;
    assert!(tree.registry().is_empty());
}

/// Panics fall on busy actors in nested supervisors: every message is answered or its sender learns that it is lost, no more are
/// lost than there were panics, and nobody dies of another's panic.
#[test]
fn under_random_panics_only_messages_in_hand_are_lost() {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut plan: Vec<(usize, bool)> = (0..20_000).map(|_| (rng.random_range(0..12), rng.random_bool(0.02))).collect();
    plan.extend((0..12).map(|actor| (actor, false)));
    paused(async || {
        let log = Log::default();
        let spec = quick(Strategy::OneForOne).intensity(u32::MAX, SECOND).backoff(MS, 20 * MS);
        let tree = tree(spec, Hooks::default());
        let mut actors = Vec::new();
        for supervisor in 0..3 {
            let inner = tree.root().start_supervisor(&format!("supervisor-{supervisor}"), spec).unwrap();
            for actor in 0..4 {
                actors.push(probe(&inner, ChildSpec::new(format!("actor-{actor}")).mailbox(50_000), &log));
            }
        }
        let mut answers = Vec::new();
        let mut panics = [0; 12];
        for (step, (actor, panic)) in plan.into_iter().enumerate() {
            let (reply, answer) = oneshot::channel();
            panics[actor] += u32::from(panic);
            let say = if panic { Say::Panic(Some(reply)) } else { Say::Sum(reply) };
            actors[actor].tell(say).unwrap();
            answers.push((panic, answer));
            if step % 100 == 0 {
                pass(MS).await;
            }
        }
        for (panic, answer) in answers {
            assert_eq!(answer.await.is_err(), panic, "a message is lost if and only if it kills");
        }
        for (actor, panics) in actors.iter().zip(panics) {
            assert_eq!(actor.vitals().restarts(), panics);
            assert_eq!(actor.vitals().queued(), 0);
        }
        for supervisor in tree.registry().snapshots().iter().filter(|actor| actor.kind == "supervisor") {
            assert_eq!((supervisor.restarts, supervisor.state), (0, "running"));
        }
        tree.stop().await;
    });
}
