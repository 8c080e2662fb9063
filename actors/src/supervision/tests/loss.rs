//! Threads that die and threads that hang. Real threads and the real clock here: the tests wait for events, never for time.

use super::*;

/// Runs a test with a pool of real arbiters. A hang fails by its own message rather than by the runner's timeout.
fn threads<F: Future<Output = ()>>(workers: usize, test: impl FnOnce(Arc<ArbiterPool>) -> F) {
    System::new().block_on(async {
        let pool = ArbiterPool::open(workers).expect("threads can be started");
        bounded(test(pool)).await;
    });
}

async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(60 * SECOND, test).await.expect("nothing hangs");
}

fn on(pool: &Arc<ArbiterPool>, hooks: Hooks) -> Tree {
    Tree::start("root", quick(Strategy::OneForOne), Arc::clone(pool), hooks).unwrap()
}

/// Hears of restarts, so that a test can wait for them.
fn listening() -> (Hooks, tokio::sync::mpsc::UnboundedReceiver<ActorRestarted>) {
    let (heard, restarts) = tokio::sync::mpsc::unbounded_channel();
    let on_restart: Option<Listener<ActorRestarted>> =
        Some(Box::new(move |event| heard.send(event.clone()).unwrap_or_default()));
    (Hooks { on_restart, ..Hooks::default() }, restarts)
}

/// Waits until an actor is done with so many messages. Its answer comes earlier than that: from within its handler.
async fn handled(actor: &Ref<Probe>, messages: u64) {
    while actor.vitals().handled() < messages {
        tokio::task::yield_now().await;
    }
}

fn rounds(tree: &Tree, stuck_after: u32, stalled_after: u32) -> watchdog::Rounds {
    let patience =
        Patience { interval: SECOND, stuck_after: stuck_after * SECOND, stalled_after: stalled_after * SECOND };
    watchdog::Rounds::new(Arc::clone(tree.node()), patience)
}

#[test]
fn actors_of_a_dead_arbiter_come_back_on_another() {
    threads(2, async |pool| {
        let log = Log::default();
        let (hooks, mut restarts) = listening();
        let tree = on(&pool, hooks);
        let [a, b, c] = [("a", 0), ("b", 0), ("c", 1)]
            .map(|(name, worker)| probe(tree.root(), ChildSpec::new(name).placement(Placement::Worker(worker)), &log));
        for actor in [&a, &b, &c] {
            actor.tell(Say::Add(1)).unwrap();
            assert_eq!(sum(actor).await, Some(1));
        }
        pool.stop_worker(0);
        for _ in 0..2 {
            let restart = restarts.recv().await.unwrap();
            assert_eq!(restart.reason, Exit::ArbiterLost);
        }
        assert_eq!(sum(&a).await, Some(0), "the old address leads to the new mailbox");
        assert_eq!(sum(&b).await, Some(0));
        assert_eq!(sum(&c).await, Some(1), "another thread's actor is untouched");
        assert_eq!([a, b, c].map(|actor| actor.snapshot().arbiter), [1, 1, 2]);
        tree.stop().await;
    });
}

#[test]
fn a_stuck_handler_is_found_and_its_zombie_is_fenced() {
    threads(2, async |pool| {
        let log = Log::default();
        let (hooks, mut restarts) = listening();
        let tree = on(&pool, hooks);
        let [a, b, c] = [("a", 0), ("b", 0), ("c", 1)]
            .map(|(name, worker)| probe(tree.root(), ChildSpec::new(name).placement(Placement::Worker(worker)), &log));
        for actor in [&a, &b, &c] {
            assert_eq!(sum(actor).await, Some(0));
            handled(actor, 1).await;
        }
        log.take();
        let (begun, has_begun) = mpsc::channel();
        let (release, until) = mpsc::channel();
        let (result, zombies_tell) = mpsc::channel();
        a.tell(Say::BlockThenTell(begun, until, c.clone(), result)).unwrap();
        a.tell(Say::Add(1)).unwrap();
        has_begun.recv().expect("the handler blocks");

        let mut rounds = rounds(&tree, 2, 100);
        assert_eq!(rounds.round(), []);
        assert_eq!(rounds.round(), []);
        let found = rounds.round();
        assert_eq!(found.len(), 1, "b is idle, and c is well");
        assert_eq!((&*found[0].path, found[0].trouble, found[0].queued), ("root/a", Trouble::Stuck, 1));
        assert_eq!(found[0].lasting, 2 * SECOND);
        let mut reasons = Vec::new();
        for _ in 0..2 {
            let restart = restarts.recv().await.unwrap();
            reasons.push((restart.path.to_string(), restart.reason));
        }
        reasons.sort_by(|x, y| x.0.cmp(&y.0));
        assert_eq!(reasons, [("root/a".into(), Exit::Stuck), ("root/b".into(), Exit::ArbiterLost)]);
        assert_eq!(sum(&a).await, Some(0));
        assert_eq!(sum(&b).await, Some(0));
        assert_eq!(pool.abandoned(), 1);

        drop(release);
        assert_eq!(zombies_tell.recv(), Ok(Err(TellError::Gone)), "a zombie speaks to nobody");
        assert_eq!(sum(&c).await, Some(0));
        for actor in [&a, &b] {
            actor.tell(Say::Add(3)).unwrap();
            assert_eq!(sum(actor).await, Some(3));
            assert_eq!(actor.vitals().restarts(), 1, "the zombie's end is no news");
            assert_eq!(actor.vitals().queued(), 0, "what waited for the zombie is not counted any more");
        }
        handled(&a, 3).await;
        handled(&b, 4).await;
        handled(&c, 2).await;
        assert_eq!(rounds.round(), []);
        tree.stop().await;
        assert_eq!(only(log.take(), &["asked", "stop"]).len(), 6, "each of the three was stopped once");
    });
}

#[test]
fn the_watchdog_runs_by_itself() {
    threads(1, async |pool| {
        let log = Log::default();
        let (mut hooks, mut restarts) = listening();
        let (found, mut findings) = tokio::sync::mpsc::unbounded_channel();
        hooks.on_finding = Some(Box::new(move |finding: &Finding| found.send(finding.clone()).unwrap_or_default()));
        let tree = on(&pool, hooks);
        let a = probe(tree.root(), ChildSpec::new("a"), &log);
        let (begun, has_begun) = mpsc::channel();
        let (_release, until) = mpsc::channel();
        a.tell(Say::Block(begun, until)).unwrap();
        has_begun.recv().expect("the handler blocks");
        // Long enough for a busy machine to run everybody else meanwhile.
        let patience = Patience { interval: MS, stuck_after: SECOND, stalled_after: 60 * SECOND };
        let watchdog = tree.watch(patience).unwrap();
        assert_eq!(findings.recv().await.unwrap().trouble, Trouble::Stuck);
        assert_eq!(restarts.recv().await.unwrap().reason, Exit::Stuck);
        drop(watchdog);
        assert_eq!(sum(&a).await, Some(0));
        tree.stop().await;
    });
}

#[test]
fn waiting_messages_without_progress_are_reported_once() {
    paused(async || {
        let log = Log::default();
        let tree = tree(quick(Strategy::OneForOne).backoff(1000 * SECOND, 1000 * SECOND), Hooks::default());
        let a = probe(tree.root(), ChildSpec::new("a"), &log);
        pass(MS).await;
        a.tell(Say::Panic(None)).unwrap();
        pass(MS).await;
        a.tell(Say::Add(1)).unwrap();
        let mut rounds = rounds(&tree, 2, 3);
        for _ in 0..3 {
            assert_eq!(rounds.round(), []);
        }
        let found = rounds.round();
        assert_eq!((found[0].trouble, found[0].lasting), (Trouble::Stalled, 3 * SECOND));
        assert_eq!(rounds.round(), []);
        pass(2000 * SECOND).await;
        assert_eq!(sum(&a).await, Some(1), "nothing was given up");
    });
}

#[test]
fn an_actor_that_cannot_even_be_killed_does_not_hold_up_the_stop() {
    let test = async || {
        // Where everybody else waits, the supervisors' clock runs to the end of their patience at once.
        let pool = ArbiterPool::open_with(2, paused_runtime).unwrap();
        let log = Log::default();
        let tree = on(&pool, Hooks::default());
        let spec = ChildSpec::new("a").placement(Placement::Worker(0)).shutdown_timeout(Some(Duration::ZERO));
        let a = probe(tree.root(), spec, &log);
        let c = probe(tree.root(), ChildSpec::new("c").placement(Placement::Worker(1)), &log);
        assert_eq!(sum(&c).await, Some(0));
        let (begun, has_begun) = mpsc::channel();
        let (release, until) = mpsc::channel();
        a.tell(Say::Block(begun, until)).unwrap();
        has_begun.recv().expect("the handler blocks");
        tree.root().stop_child(a.id()).await.unwrap();
        assert_eq!(pool.abandoned(), 1);
        assert_eq!(a.tell(Say::Add(1)), Err(TellError::Gone));
        assert_eq!(sum(&c).await, Some(0));
        drop(release);
        tree.stop().await;
    };
    System::new().block_on(bounded(test()));
}
