//! Several actors: strategies, intensity, escalation, order of start and stop.

use super::*;

fn abc(to: &SupervisorRef, log: &Log) -> [Ref<Probe>; 3] {
    ["a", "b", "c"].map(|name| probe(to, ChildSpec::new(name), log))
}

#[test]
fn one_for_one_leaves_the_siblings_alone() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let [a, b, c] = abc(tree.root(), &log);
        pass(MS).await;
        for actor in [&a, &b, &c] {
            actor.tell(Say::Add(1)).unwrap();
        }
        b.tell(Say::Panic(None)).unwrap();
        pass(MS).await;
        assert_eq!(log.take(), ["start a", "start b", "start c", "drop b", "start b"]);
        assert_eq!([sum(&a).await, sum(&b).await, sum(&c).await], [Some(1), Some(0), Some(1)]);
    });
}

#[test]
fn groups_stop_in_reverse_and_start_in_order_and_keep_their_mailboxes() {
    let expected = [
        (Strategy::OneForAll, ["stop c", "stop a", "start a", "start b", "start c"].as_slice(), 0),
        (Strategy::RestForOne, ["stop c", "start b", "start c"].as_slice(), 1),
    ];
    for (strategy, steps, left_in_a) in expected {
        paused(async || {
            let log = Log::default();
            let tree = tree(quick(strategy).backoff(SECOND, SECOND), Hooks::default());
            let [a, b, c] = abc(tree.root(), &log);
            a.tell(Say::Add(1)).unwrap();
            pass(MS).await;
            log.take();
            b.tell(Say::Panic(None)).unwrap();
            pass(MS).await;
            // Between the two lives.
            c.tell(Say::Add(5)).unwrap();
            pass(2 * SECOND).await;
            assert_eq!(only(log.take(), &["start", "stop"]), steps);
            assert_eq!([sum(&a).await, sum(&b).await, sum(&c).await], [Some(left_in_a), Some(0), Some(5)]);
        });
    }
}

#[test]
fn too_many_restarts_escalate_to_the_parent_and_then_to_the_root() {
    paused(async || {
        let log = Log::default();
        let failures = Log::default();
        let heard = failures.clone();
        let on_root_failure: Option<Listener<Exit>> = Some(Box::new(move |exit| heard.add(exit.to_string())));
        let spec = quick(Strategy::OneForOne).intensity(1, 100 * SECOND);
        let tree = tree(spec, Hooks { on_root_failure, ..Hooks::default() });
        let inner = tree.root().start_supervisor("inner", spec).unwrap();
        let [a, b, _] = abc(&inner, &log);
        let outer = probe(tree.root(), ChildSpec::new("outer"), &log);
        pass(MS).await;
        log.take();

        b.tell(Say::Panic(None)).unwrap();
        pass(MS).await;
        assert_eq!(log.take(), ["drop b", "start b"], "within the intensity");
        a.tell(Say::Add(1)).unwrap();
        b.tell(Say::Panic(None)).unwrap();
        pass(MS).await;
        let restarted = ["stop c", "stop a", "start a", "start b", "start c"];
        assert_eq!(only(log.take(), &["start", "stop"]), restarted, "inner gave up and was restarted, outer was not");
        assert_eq!(tree.registry().snapshot("root/inner").unwrap().restarts, 1);
        assert_eq!(sum(&a).await, Some(0), "same address, fresh value");
        assert_eq!(failures.take(), Vec::<String>::new());

        // The restarted supervisor has its own budget again; the root's is spent.
        b.tell(Say::Panic(None)).unwrap();
        b.tell(Say::Panic(None)).unwrap();
        let end = tree.ended().await;
        let text = "failed: gave up after too many restarts; last, root/inner failed: gave up after too many restarts; \
                    last, root/inner/b panicked: told to";
        assert_eq!(end.to_string(), text);
        assert_eq!(failures.take(), [text]);
        pass(MS).await;
        assert_eq!(only(log.take(), &["start", "stop"])[1..], ["stop c", "stop a", "stop outer"]);
        assert_eq!(outer.tell(Say::Add(1)), Err(TellError::Gone));
        assert!(tree.registry().is_empty());
    });
}

#[test]
fn a_tree_stops_in_reverse_order_of_starting() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let first = probe(tree.root(), ChildSpec::new("first"), &log);
        let inner = tree.root().start_supervisor("inner", quick(Strategy::OneForAll)).unwrap();
        abc(&inner, &log);
        probe(tree.root(), ChildSpec::new("last"), &log);
        pass(MS).await;
        let started = log.take();
        let order = |names: &[&str]| -> Vec<String> {
            started.iter().filter(|line| names.iter().any(|name| line.ends_with(name))).cloned().collect()
        };
        // A supervisor counts as started when it may take children, so its own start beside its later siblings.
        assert_eq!(order(&["first", "last"]), ["start first", "start last"]);
        assert_eq!(order(&[" a", " b", " c"]), ["start a", "start b", "start c"]);
        let (reply, unheard) = oneshot::channel();
        assert_eq!(tree.stop().await, Exit::Shutdown);
        assert_eq!(only(log.take(), &["stop"]), ["stop last", "stop c", "stop b", "stop a", "stop first"]);
        pass(MS).await;
        assert_eq!(first.tell(Say::Sum(reply)), Err(TellError::Gone));
        assert!(unheard.await.is_err());
        assert!(tree.registry().is_empty());
        let spec = ChildSpec::new("late");
        let late = tree.root().start_child::<Probe>(spec, (ProbeArgs::new("late", &log),));
        assert_eq!(late.unwrap_err(), StartError::SupervisorGone("root".into()));
    });
}

#[test]
fn an_actor_that_does_not_stop_in_time_is_dropped() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        abc(tree.root(), &log);
        probe(tree.root(), ChildSpec::new("stubborn").shutdown_timeout(Some(3 * SECOND)), &log);
        probe(tree.root(), ChildSpec::new("brutal").shutdown_timeout(Some(Duration::ZERO)), &log);
        pass(MS).await;
        log.take();
        let began = tokio::time::Instant::now();
        tree.stop().await;
        assert_eq!(began.elapsed().as_secs(), 3);
        let lines = log.take();
        assert_eq!(lines[..4], ["drop brutal", "asked stubborn", "drop stubborn", "asked c"]);
    });
}

#[test]
fn children_can_be_added_stopped_and_added_again() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let [a, b, _] = abc(tree.root(), &log);
        let taken = tree.root().start_child::<Probe>(ChildSpec::new("b"), (ProbeArgs::new("b", &log),));
        assert_eq!(taken.unwrap_err(), StartError::PathTaken(Arc::clone(b.path())));
        pass(MS).await;
        tree.root().stop_child(b.id()).await.unwrap();
        assert_eq!(only(log.take(), &["stop", "drop"]), ["stop b", "drop b"]);
        let again = probe(tree.root(), ChildSpec::new("b"), &log);
        again.tell(Say::Add(2)).unwrap();
        assert_eq!(sum(&again).await, Some(2));
        assert_eq!(b.tell(Say::Add(1)), Err(TellError::Gone), "the old address is not the new actor's");
        tree.root().stop_child(b.id()).await.expect("stopping what is gone succeeds");
        assert_eq!(sum(&a).await, Some(0));
    });
}

#[test]
fn restarts_back_off() {
    paused(async || {
        let log = Log::default();
        let spec = SupervisorSpec::new(Strategy::OneForOne).backoff(SECOND, 4 * SECOND);
        let tree = tree(spec, Hooks::default());
        let a = probe(tree.root(), ChildSpec::new("a"), &log);
        pass(MS).await;
        for full in [1, 2, 4, 4] {
            a.tell(Say::Panic(None)).unwrap();
            pass(MS).await;
            assert_eq!(a.snapshot().state, "down");
            let began = tokio::time::Instant::now();
            assert_eq!(sum(&a).await, Some(0));
            let waited = began.elapsed();
            let (least, most) = ((full * SECOND / 2).saturating_sub(2 * MS), full * SECOND + 2 * MS);
            assert!(least <= waited && waited <= most, "{waited:?} is not within {least:?} and {most:?}");
        }
    });
}

#[test]
fn a_supervisor_that_panics_finds_its_children_again() {
    paused(async || {
        let log = Log::default();
        let on_restart: Option<Listener<ActorRestarted>> = Some(Box::new(|event: &ActorRestarted| {
            assert!(event.kind == "supervisor" || event.reason == Exit::Shutdown, "the listener's fault");
        }));
        let tree = tree(quick(Strategy::OneForOne), Hooks { on_restart, ..Hooks::default() });
        let inner = tree.root().start_supervisor("inner", quick(Strategy::OneForOne)).unwrap();
        let [a, b, c] = abc(&inner, &log);
        let other = probe(tree.root(), ChildSpec::new("other"), &log);
        pass(MS).await;
        log.take();
        b.tell(Say::Panic(None)).unwrap();
        c.tell(Say::Add(1)).unwrap();
        pass(MS).await;
        assert_eq!(tree.registry().snapshot("root/inner").unwrap().restarts, 1);
        let lines = only(log.take(), &["start", "stop"]);
        assert_eq!(lines, ["start b", "stop c", "stop b", "stop a", "start a", "start b", "start c"]);
        assert_eq!([sum(&a).await, sum(&b).await, sum(&c).await], [Some(0), Some(0), Some(0)]);
        assert_eq!(other.vitals().restarts(), 0);
    });
}

#[test]
fn a_restarted_supervisor_is_not_misled_by_old_news() {
    paused(async || {
        let log = Log::default();
        let on_restart: Option<Listener<ActorRestarted>> =
            Some(Box::new(|event: &ActorRestarted| assert!(event.kind == "supervisor" || event.nth > 1)));
        let tree = tree(quick(Strategy::OneForOne), Hooks { on_restart, ..Hooks::default() });
        let inner = tree.root().start_supervisor("inner", quick(Strategy::OneForOne)).unwrap();
        let a = probe(&inner, ChildSpec::new("a"), &log);
        pass(MS).await;
        // While the supervisor hears of the second life, and dies of its listener, the second life ends too.
        a.tell(Say::Panic(None)).unwrap();
        a.tell(Say::Panic(None)).unwrap();
        assert_eq!(sum(&a).await, Some(0));
        pass(MS).await;
        assert_eq!(tree.registry().snapshot("root/inner").unwrap().restarts, 1);
        assert_eq!(a.vitals().restarts(), 2);
        assert!(a.is_live());
    });
}
