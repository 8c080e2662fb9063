//! One actor: its restarts in place, its mailbox, timers, children, poison.

use super::*;

/// A root with one permanent child, `a`.
fn one(log: &Log, hooks: Hooks) -> (Tree, Ref<Probe>) {
    let tree = tree(quick(Strategy::OneForOne), hooks);
    let a = probe(tree.root(), ChildSpec::new("a"), log);
    (tree, a)
}

#[test]
fn a_panic_costs_the_state_and_the_message_in_hand_and_nothing_else() {
    paused(async || {
        let log = Log::default();
        let restarts = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&restarts);
        let on_restart: Option<Listener<ActorRestarted>> =
            Some(Box::new(move |event| lock(&heard).push(event.clone())));
        let (tree, a) = one(&log, Hooks { on_restart, ..Hooks::default() });
        pass(MS).await;
        let (reply, lost) = oneshot::channel();
        a.tell(Say::Add(1)).unwrap();
        a.tell(Say::Panic(Some(reply))).unwrap();
        a.tell(Say::Add(10)).unwrap();
        a.tell(Say::Add(100)).unwrap();
        assert_eq!(sum(&a).await, Some(110), "queued messages met a fresh value behind the same address");
        assert!(lost.await.is_err(), "the sender of the message in hand is told");
        assert_eq!(log.take(), ["start a", "drop a", "start a"], "no orderly stop after a panic");

        let snapshot = tree.registry().snapshot("root/a").unwrap();
        assert_eq!((snapshot.kind, snapshot.state, snapshot.restarts), ("probe", "filled", 1));
        assert_eq!((snapshot.mailbox, snapshot.handled), (0, 4), "Add, Add, Add, Sum");
        assert_eq!(snapshot.last_failure.as_deref(), Some("panicked: told to"));
        assert!(snapshot.last_failure_at_ms.is_some());
        let restarts = lock(&restarts).clone();
        assert_eq!(restarts.len(), 1);
        assert_eq!((&*restarts[0].path, restarts[0].kind, restarts[0].nth), ("root/a", "probe", 1));
        assert_eq!(restarts[0].reason, Exit::Panicked("told to".into()));
    });
}

#[test]
fn a_failpoint_is_a_panic_of_the_actor_it_hits() {
    paused(async || {
        let log = Log::default();
        let before_handle: Option<fn(&'static str, &str)> = Some(|kind, _| {
            assert_ne!(kind, "probe", "failpoint");
        });
        let (_tree, a) = one(&log, Hooks { before_handle, ..Hooks::default() });
        assert_eq!(sum(&a).await, None);
        pass(MS).await;
        assert_eq!(a.vitals().restarts(), 1);
        assert!(a.snapshot().last_failure.unwrap().contains("failpoint"));
    });
}

#[test]
fn panics_in_start_are_tried_again() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let args = ProbeArgs::new("a", &log);
        *lock(&args.bad_starts) = 3;
        let a = tree.root().start_child::<Probe>(ChildSpec::new("a"), (args,)).unwrap();
        a.tell(Say::Add(7)).unwrap();
        assert_eq!(sum(&a).await, Some(7), "told before the first good start");
        assert_eq!(a.vitals().restarts(), 3);
    });
}

#[test]
fn a_mailbox_is_bounded_but_for_what_is_urgent() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let a = probe(tree.root(), ChildSpec::new("a").mailbox(2), &log);
        assert_eq!(a.tell(Say::Add(1)), Ok(()));
        assert_eq!(a.tell(Say::Add(1)), Ok(()));
        assert_eq!(a.tell(Say::Add(1)), Err(TellError::Full));
        assert_eq!(a.tell_urgent(Say::Add(1)), Ok(()));
        assert_eq!(a.vitals().queued(), 3);
        pass(MS).await;
        assert_eq!(a.vitals().queued(), 0);
        assert_eq!(sum(&a).await, Some(3));
    });
}

#[test]
fn timers_of_an_earlier_life_do_not_fire_and_start_arms_new_ones() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let args = ProbeArgs { alarm: Some(10 * SECOND), ..ProbeArgs::new("a", &log) };
        let a = tree.root().start_child::<Probe>(ChildSpec::new("a"), (args,)).unwrap();
        a.tell(Say::RingAfter(7 * SECOND)).unwrap();
        pass(5 * SECOND).await;
        a.tell(Say::Panic(None)).unwrap();
        pass(8 * SECOND).await;
        assert_eq!(only(log.take(), &["ring"]), Vec::<String>::new(), "the old alarms were for 7 s and 10 s");
        pass(3 * SECOND).await;
        assert_eq!(only(log.take(), &["ring"]), ["ring a"], "the new one is for 15 s");
    });
}

#[test]
fn timers_fire_in_order_and_can_be_cancelled() {
    struct Clock(Log);
    impl Behaviour for Clock {
        const KIND: &'static str = "clock";
        type Msg = &'static str;
        type Args = Log;
        fn start(log: &Log, ctx: &mut Ctx<'_, Self>) -> Self {
            ctx.after(3 * SECOND, "third");
            ctx.after(SECOND, "first");
            let second = ctx.after(2 * SECOND, "second");
            ctx.after(SECOND, "first again");
            assert!(ctx.cancel(second));
            assert!(!ctx.cancel(second));
            Self(log.clone())
        }
        fn handle(&mut self, msg: &'static str, _ctx: &mut Ctx<'_, Self>) {
            self.0.add(msg.into());
        }
    }
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        tree.root().start_child::<Clock>(ChildSpec::new("clock"), log.clone()).unwrap();
        pass(SECOND + MS).await;
        assert_eq!(log.take(), ["first", "first again"]);
        pass(2 * SECOND).await;
        assert_eq!(log.take(), ["third"]);
    });
}

#[test]
fn a_message_that_kills_again_and_again_is_set_aside() {
    paused(async || {
        let log = Log::default();
        let (_tree, a) = one(&log, Hooks::default());
        for _ in 0..2 {
            a.tell(Say::Keyed { key: "k", deadly: true }).unwrap();
        }
        pass(MS).await;
        a.tell(Say::Keyed { key: "k", deadly: false }).unwrap();
        a.tell(Say::Panic(None)).unwrap();
        a.tell(Say::Keyed { key: "other", deadly: true }).unwrap();
        pass(MS).await;
        assert_eq!(only(log.take(), &["key", "poisoned"]), ["key k"], "2 deaths by k, 1 by another, 1 by none");

        a.tell(Say::Keyed { key: "k", deadly: true }).unwrap();
        pass(MS).await;
        assert_eq!(only(log.take(), &["key", "poisoned", "start"]), ["start a", "poisoned k: panicked: poison"]);
        a.tell(Say::Keyed { key: "k", deadly: true }).unwrap();
        a.tell(Say::Keyed { key: "other", deadly: false }).unwrap();
        pass(MS).await;
        assert_eq!(log.take(), ["poisoned k: panicked: poison", "key other"], "not handled, and nobody died");
        assert_eq!(a.vitals().restarts(), 5);
    });
}

#[test]
fn transient_and_temporary_children_end_when_they_should() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let [transient, temporary] = [Restart::Transient, Restart::Temporary].map(|restart| {
            let name = if restart == Restart::Transient { "transient" } else { "temporary" };
            probe(tree.root(), ChildSpec::new(name).restart(restart), &log)
        });
        transient.tell(Say::Fail).unwrap();
        assert_eq!(sum(&transient).await, Some(0), "restarted after a failure");
        transient.tell(Say::Stop).unwrap();
        temporary.tell(Say::Panic(None)).unwrap();
        pass(MS).await;
        for gone in [&transient, &temporary] {
            assert_eq!(gone.tell(Say::Add(1)), Err(TellError::Gone));
        }
        assert_eq!(tree.registry().snapshot("root/transient").unwrap().state, "down");
        assert_eq!(tree.registry().snapshot("root/temporary"), None);
        assert_eq!(only(log.take(), &["start", "stop"]).len(), 4, "transient twice, temporary once, one orderly stop");
    });
}

async fn spawn(parent: &Ref<Probe>, name: &'static str) -> Result<Ref<Probe>, StartError> {
    let (reply, answer) = oneshot::channel();
    parent.tell(Say::Spawn(name, reply)).unwrap();
    answer.await.expect("the parent answers")
}

#[test]
fn a_parent_is_told_of_its_childs_end_and_takes_its_children_with_it() {
    paused(async || {
        let log = Log::default();
        let (tree, a) = one(&log, Hooks::default());
        let [first, second, third] = ["x", "y", "z"];
        let x = spawn(&a, first).await.unwrap();
        let y = spawn(&a, second).await.unwrap();
        let z = spawn(&a, third).await.unwrap();
        let path = Arc::clone(x.path());
        assert_eq!(&*path, "root/a/x");
        assert_eq!(spawn(&a, first).await.unwrap_err(), StartError::PathTaken(path));

        x.tell(Say::Panic(None)).unwrap();
        y.tell(Say::Stop).unwrap();
        pass(MS).await;
        let lost = only(log.take(), &["a", "stop"]);
        assert_eq!(lost, ["stop y", "a lost root/a/x: panicked: told to", "a lost root/a/y: finished"]);
        assert_eq!(x.tell(Say::Add(1)), Err(TellError::Gone));

        let x = spawn(&a, first).await.unwrap();
        pass(MS).await;
        assert!(z.is_live());
        a.tell(Say::Panic(None)).unwrap();
        x.tell(Say::Add(1)).unwrap();
        pass(MS).await;
        let after = only(log.take(), &["a", "stop", "drop", "start"]);
        assert_eq!(after, ["start x", "drop a", "drop x", "drop z", "start a"], "no news of them to the fresh value");
        assert_eq!(x.vitals().handled(), 0, "it was dropped before its next message");
        assert_eq!(tree.registry().len(), 2, "root and a");
        spawn(&a, first).await.expect("the path is free again");
    });
}

#[test]
fn a_flooded_actor_lets_others_run() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let [a, b] = ["a", "b"].map(|name| probe(tree.root(), ChildSpec::new(name).mailbox(20_000), &log));
        pass(MS).await;
        for _ in 0..10_000 {
            a.tell(Say::Add(1)).unwrap();
        }
        // A task beside them sees the answer at once; the test's own future would not.
        let vitals = a.clone();
        let observer = actix_rt::spawn(async move {
            assert_eq!(sum(&b).await, Some(0));
            vitals.vitals().handled()
        });
        let handled = observer.await.unwrap();
        assert!(handled < 1000, "b had to wait for {handled} messages of a");
    });
}

#[test]
fn a_restart_on_demand_is_orderly_and_not_counted() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne).intensity(0, SECOND), Hooks::default());
        let a = probe(tree.root(), ChildSpec::new("a"), &log);
        let child = spawn(&a, "x").await.unwrap();
        a.tell(Say::Add(1)).unwrap();
        pass(MS).await;
        log.take();
        tree.registry().restart("root/a/x").unwrap();
        pass(MS).await;
        assert_eq!(log.take(), ["drop x", "a lost root/a/x: failed: a restart was requested"]);
        assert!(!child.is_live());
        tree.registry().restart("root/a").unwrap();
        pass(MS).await;
        assert_eq!(log.take(), ["asked a", "stop a", "drop a", "start a"]);
        assert_eq!(sum(&a).await, Some(0));
        assert_eq!(tree.registry().restart("root"), Err(RestartError::Root));
        assert_eq!(tree.registry().restart("root/b"), Err(RestartError::UnknownActor));
        assert!(tree.registry().find::<Probe>("root/a").is_some_and(|found| found.id() == a.id()));
    });
}

#[test]
fn a_parent_can_stop_a_child() {
    paused(async || {
        let log = Log::default();
        let (_tree, a) = one(&log, Hooks::default());
        let x = spawn(&a, "x").await.unwrap();
        a.tell(Say::StopChild(x.id())).unwrap();
        pass(MS).await;
        let expected = ["start a", "start x", "asked x", "stop x", "drop x", "a lost root/a/x: shut down"];
        assert_eq!(log.take(), expected);
    });
}

#[test]
fn a_value_that_panics_when_it_is_dropped_is_replaced_all_the_same() {
    struct Bomb;
    impl Behaviour for Bomb {
        const KIND: &'static str = "bomb";
        type Msg = Option<oneshot::Sender<()>>;
        type Args = ();
        fn start(_args: &(), _ctx: &mut Ctx<'_, Self>) -> Self {
            Self
        }
        fn handle(&mut self, reply: Self::Msg, ctx: &mut Ctx<'_, Self>) {
            match reply {
                Some(reply) => reply.send(()).expect("the test waits"),
                None => ctx.fail("told to"),
            }
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    paused(async || {
        let tree = tree(quick(Strategy::OneForOne), Hooks::default());
        let bomb = tree.root().start_child::<Bomb>(ChildSpec::new("bomb"), ()).unwrap();
        bomb.tell(None).unwrap();
        let (reply, answer) = oneshot::channel();
        bomb.tell(Some(reply)).unwrap();
        answer.await.expect("a fresh value answers");
        assert_eq!(bomb.vitals().restarts(), 1);
        assert_eq!(tree.stop().await, Exit::Shutdown);
    });
}
