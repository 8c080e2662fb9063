//! `Policy` against the naive model where they can be compared step by step, and against its own invariants where events
//! overlap, which OTP's blocking supervisor does not know.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    prelude::{Strategy as Generator, *},
    test_runner::{Config, RngSeed, TestRunner},
};

use super::{
    super::{
        Exit, Restart, Strategy, SupervisorSpec,
        policy::{Action, Policy},
    },
    MS, SECOND,
    model::{Child, Otp, Step},
};

/// `CORE314_SEED` repeats a run; the seed is printed with every failure.
pub fn seed() -> u64 {
    let seed = std::env::var("CORE314_SEED").map_or(314, |text| text.parse().expect("CORE314_SEED is a number"));
    println!("CORE314_SEED={seed}");
    seed
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 2000,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..Config::default()
    })
}

fn strategies() -> impl Generator<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

fn restarts() -> impl Generator<Value = Vec<Restart>> {
    let one = prop_oneof![
        3 => Just(Restart::Permanent),
        1 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ];
    prop::collection::vec(one, 1..7)
}

fn exits() -> impl Generator<Value = Exit> {
    prop_oneof![
        2 => Just(Exit::Panicked("boom".into())),
        1 => Just(Exit::ArbiterLost),
        1 => Just(Exit::Normal),
    ]
}

/// Runs the policy to rest in a world that obeys at once; returns what it did.
fn settle(policy: &mut Policy, now: &mut Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        let actions = policy.advance(*now);
        if actions.is_empty() {
            match policy.next_wake(*now) {
                Some(at) => *now = at,
                None => return steps,
            }
        }
        for action in actions {
            match action {
                Action::Start(id) => {
                    policy.started(id);
                    steps.push(Step::Start(id));
                }
                Action::Shutdown(id) => {
                    policy.exited(id, &Exit::Shutdown, *now, 0.5);
                    steps.push(Step::Stop(id));
                }
                Action::Forget(id) => steps.push(Step::Forget(id)),
                Action::Release(_) => {}
                Action::Finished(_) => steps.push(Step::GiveUp),
                Action::Kill(id) | Action::Abandon(id) => panic!("{id} had stopped in time"),
            }
        }
    }
}

#[test]
fn kills_one_after_the_other_have_the_effect_they_have_in_otp() {
    type Kill = (prop::sample::Index, Exit, u64);
    let kills = prop::collection::vec((any::<prop::sample::Index>(), exits(), 0..1500u64), 1..40);
    let input = (strategies(), restarts(), 0..6u32, kills);
    let run = |(strategy, restarts, max, kills): (_, Vec<Restart>, u32, Vec<Kill>)| {
        let spec = SupervisorSpec::new(strategy).intensity(max, SECOND).backoff(MS, 10 * MS);
        let mut policy = Policy::new(spec);
        let mut otp = Otp {
            strategy,
            max_restarts: max as usize,
            within: SECOND,
            children: Vec::new(),
            restarts: Vec::new(),
            alive: true,
        };
        let mut now = Duration::ZERO;
        let mut started = Vec::new();
        for (id, restart) in (1..).zip(restarts) {
            policy.add(id, restart, Some(SECOND), false, now);
            otp.children.push(Child { id, restart, running: true });
            started.push(Step::Start(id));
        }
        prop_assert_eq!(settle(&mut policy, &mut now), started);
        for (which, exit, gap_ms) in kills {
            now += Duration::from_millis(gap_ms);
            let running: Vec<u64> = otp.children.iter().filter(|c| c.running).map(|c| c.id).collect();
            if running.is_empty() {
                break;
            }
            let id = *which.get(&running);
            policy.exited(id, &exit, now, 0.5);
            let expected = otp.child_ends(id, exit.is_abnormal(), now);
            prop_assert_eq!(settle(&mut policy, &mut now), expected, "{} {} at {:?}", id, exit, now);
        }
        if otp.alive {
            policy.shutdown();
            prop_assert_eq!(settle(&mut policy, &mut now), otp.terminate());
        }
        prop_assert_eq!(policy.advance(now), vec![], "it is over");
        Ok(())
    };
    runner().run(&input, run).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A child in a world where everything takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Down,
    Starting,
    Up,
    /// Ended; the news is under way.
    Ended,
}

/// What the world holds, and what may not happen in it.
struct Slow {
    policy: Policy,
    strategy: Strategy,
    now: Duration,
    children: BTreeMap<u64, (World, Exit)>,
    asked: Option<u64>,
    over: bool,
}

impl Slow {
    fn advance(&mut self) -> Result<(), TestCaseError> {
        for action in self.policy.advance(self.now) {
            let forgets = matches!(action, Action::Forget(_));
            prop_assert!(!self.over || forgets, "{:?} after the end", action);
            match action {
                Action::Start(id) => {
                    // Alone, a child that is to be stopped again while it starts holds up nobody.
                    let grouped = self.strategy != Strategy::OneForOne;
                    let busy = self.children.values().any(|(world, _)| *world == World::Starting);
                    prop_assert!(!(grouped && busy), "two at once");
                    prop_assert!(!(grouped && self.asked.is_some()), "{} started during a stop", id);
                    let child = self.children.get_mut(&id).expect("only children are started");
                    prop_assert_eq!(child.0, World::Down, "start of {}", id);
                    child.0 = World::Starting;
                }
                Action::Shutdown(id) | Action::Kill(id) => {
                    prop_assert!(self.asked.is_none_or(|other| other == id), "two stops at once");
                    prop_assert_ne!(self.children[&id].0, World::Down, "stop of {}", id);
                    self.asked = Some(id);
                }
                Action::Forget(id) => {
                    let gone = self.children.remove(&id);
                    prop_assert_eq!(gone.map(|(world, _)| world), Some(World::Down));
                }
                Action::Release(id) => prop_assert_eq!(self.children[&id].0, World::Down),
                Action::Abandon(id) => prop_assert!(false, "{} would have obeyed", id),
                Action::Finished(_) => {
                    self.over = true;
                    let up = self.children.values().filter(|(world, _)| *world != World::Down).count();
                    prop_assert_eq!(up, 0, "ended before its children");
                }
            }
        }
        Ok(())
    }

    /// One thing happens to one child: it gets on with what it is doing, or it dies.
    fn event(&mut self, id: u64, death: Option<Exit>) -> Result<(), TestCaseError> {
        let Some((world, exit)) = self.children.get_mut(&id) else {
            return Ok(());
        };
        match (*world, death) {
            (World::Ended, _) => {
                *world = World::Down;
                let exit = exit.clone();
                if self.asked == Some(id) {
                    self.asked = None;
                }
                self.policy.exited(id, &exit, self.now, 0.5);
            }
            (World::Starting | World::Up, Some(death)) => (*world, *exit) = (World::Ended, death),
            (World::Starting, None) => {
                *world = World::Up;
                self.policy.started(id);
            }
            (World::Up, None) if self.asked == Some(id) => (*world, *exit) = (World::Ended, Exit::Shutdown),
            (World::Down, _) | (World::Up, None) => {}
        }
        self.advance()
    }
}

#[test]
fn overlapping_deaths_keep_the_order_and_end_well() {
    #[derive(Debug, Clone)]
    enum Event {
        GoOn(u64),
        Die(u64, Exit),
        Pass(u64),
        Restart(u64),
        Remove(u64),
    }
    let event = prop_oneof![
        20 => (1..8u64).prop_map(Event::GoOn),
        8 => (1..8u64, exits()).prop_map(|(id, exit)| Event::Die(id, exit)),
        4 => (1..20u64).prop_map(Event::Pass),
        1 => (1..8u64).prop_map(Event::Restart),
        1 => (1..8u64).prop_map(Event::Remove),
    ];
    let input = (strategies(), restarts(), 0..30u32, prop::collection::vec(event, 1..200));
    let run = |(strategy, restarts, max, events): (_, Vec<Restart>, u32, Vec<Event>)| {
        let spec = SupervisorSpec::new(strategy).intensity(max, SECOND).backoff(MS, 10 * MS);
        let mut slow = Slow {
            policy: Policy::new(spec),
            strategy,
            now: Duration::ZERO,
            children: BTreeMap::new(),
            asked: None,
            over: false,
        };
        for (id, restart) in (1..).zip(&restarts) {
            slow.policy.add(id, *restart, None, false, slow.now);
            slow.children.insert(id, (World::Down, Exit::Normal));
        }
        slow.advance()?;
        for event in events {
            match event {
                Event::GoOn(id) => slow.event(id, None)?,
                Event::Die(id, exit) => slow.event(id, Some(exit))?,
                Event::Pass(ms) => slow.now += Duration::from_millis(ms),
                Event::Restart(id) => slow.policy.restart(id, slow.now),
                Event::Remove(id) => slow.policy.remove(id),
            }
            slow.advance()?;
        }
        // From here on nothing goes wrong any more.
        for _ in 0..100 {
            for id in 1..8 {
                slow.event(id, None)?;
            }
            slow.now += MS;
            slow.advance()?;
        }
        for (id, (world, _)) in &slow.children {
            let permanent = restarts[*id as usize - 1] == Restart::Permanent;
            prop_assert!(matches!(world, World::Up | World::Down), "{} is {:?}", id, world);
            prop_assert!(slow.over || !permanent || *world == World::Up, "{} is {:?}", id, world);
        }
        prop_assert!(slow.policy.is_settled());
        prop_assert_eq!(slow.policy.next_wake(slow.now), None);
        Ok(())
    };
    runner().run(&input, run).unwrap_or_else(|failure| panic!("{failure}"));
}
