//! What a handler may do besides changing its own state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    actor_ref::{Ref, Shared},
    arbiters::fenced,
    behaviour::Behaviour,
    control::Order,
    driver::Driver,
    exit::Exit,
    hooks::Hooks,
    node::Parent,
    registry::{Entry, StartError},
    spec::ChildSpec,
    timers::{TimerKey, Timers},
};

/// Far enough for anybody, near enough not to overflow the clock.
const LONGEST_TIMER: Duration = Duration::from_hours(365 * 24);

/// What belongs to an actor's present life, apart from its value.
pub(super) struct Core<B: Behaviour> {
    pub(super) shared: Arc<Shared<B>>,
    pub(super) timers: Option<Box<Timers<B::Msg>>>,
    /// Survives restarts, so that old keys cancel nothing.
    timers_set: u64,
    /// In the order in which they were started.
    children: BTreeMap<u64, Arc<dyn Entry>>,
    pub(super) exit: Option<Exit>,
    /// An orderly stop was asked for.
    pub(super) asked: bool,
    /// Messages handled since the task last gave way to others.
    pub(super) spent: u32,
    pub(super) state: &'static str,
}

impl<B: Behaviour> Core<B> {
    pub(super) const fn new(shared: Arc<Shared<B>>) -> Self {
        Self {
            shared,
            timers: None,
            timers_set: 0,
            children: BTreeMap::new(),
            exit: None,
            asked: false,
            spent: 0,
            state: "",
        }
    }

    /// Ends the present life: no timer fires any more, and the children die.
    pub(super) fn reset(&mut self) {
        self.timers = None;
        self.exit = None;
        self.asked = false;
        self.spent = 0;
        self.state = "";
        while let Some((_, child)) = self.children.pop_last() {
            child.order(Order::Kill);
        }
    }

    /// False if the child is not of this life.
    pub(super) fn forget_child(&mut self, id: u64) -> bool {
        self.children.remove(&id).is_some()
    }
}

impl<B: Behaviour> Drop for Core<B> {
    fn drop(&mut self) {
        self.reset();
    }
}

/// An actor's view of itself while it handles something.
pub struct Ctx<'a, B: Behaviour> {
    pub(super) core: &'a mut Core<B>,
}

impl<B: Behaviour> Ctx<'_, B> {
    /// This actor's own address. It stays valid across restarts.
    pub fn me(&self) -> Ref<B> {
        Ref::of(Arc::clone(&self.core.shared))
    }

    pub fn path(&self) -> &Arc<str> {
        self.core.shared.path()
    }

    /// Handles `msg` after `delay`, which is cut to a year, whatever the mailbox holds. Forgotten when the actor restarts.
    pub fn after(&mut self, delay: Duration, msg: B::Msg) -> TimerKey {
        let due = Instant::now() + delay.min(LONGEST_TIMER);
        self.core.timers_set += 1;
        let number = self.core.timers_set;
        self.core.timers.get_or_insert_with(|| Box::new(Timers::new(due))).set(due, number, msg)
    }

    /// False if the timer has fired, was cancelled, or was set before a restart.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        let timers = self.core.timers.as_mut();
        timers.is_some_and(|timers| timers.cancel(key))
    }

    /// Starts a child on this actor's arbiter. It is never restarted: this value is told of its end (`child_exited`), and when
    /// this value ends, however it ends, the child is dropped before it handles another message.
    pub fn spawn_child<C: Behaviour>(&mut self, spec: &ChildSpec, args: C::Args) -> Result<Ref<C>, StartError> {
        let me = &self.core.shared;
        let shared = Shared::<C>::new(
            Arc::clone(&me.node),
            Arc::clone(me) as Arc<dyn Parent>,
            me.path(),
            spec,
            false,
            me.arbiter(),
        );
        if fenced() {
            // The path belongs to this actor's next life, on another thread.
            return Err(StartError::PathTaken(Arc::clone(shared.path())));
        }
        shared.begin_life();
        shared.control.attach();
        me.node.registry.insert(Arc::clone(&shared) as Arc<dyn Entry>)?;
        Driver::launch_here(Arc::clone(&shared), args);
        let entry = Arc::clone(&shared) as Arc<dyn Entry>;
        self.core.children.insert(shared.id, entry);
        Ok(Ref::of(shared))
    }

    /// Asks a child of this value to stop. False if there is none with this number.
    pub fn stop_child(&mut self, id: u64) -> bool {
        let child = self.core.children.get(&id);
        child.is_some_and(|child| {
            child.order(Order::Shutdown);
            true
        })
    }

    /// How many children this value has.
    pub fn children(&self) -> usize {
        self.core.children.len()
    }

    /// Ends the actor after this handler, in an orderly way.
    pub fn stop(&mut self) {
        let exit = if self.core.asked { Exit::Shutdown } else { Exit::Normal };
        self.core.exit.get_or_insert(exit);
    }

    /// Ends the actor after this handler as failed: its state is not to be trusted, and a fresh one is wanted.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.core.exit.get_or_insert_with(|| Exit::Failed(reason.into()));
    }

    pub(super) fn hooks(&self) -> &Hooks {
        &self.core.shared.node.hooks
    }

    /// Gives up the thread of an actor that cannot be stopped.
    pub(super) fn abandon(&self, actor: &dyn Entry) {
        let node = &self.core.shared.node;
        node.abandon(&actor.arbiter(), Some(actor.id()));
    }

    /// Tells the watchdog that a long handler gets on.
    pub fn progress(&mut self) {
        self.core.shared.set_busy();
    }
}
