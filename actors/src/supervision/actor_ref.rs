//! The handle by which actors are reached, and what it shares with the actor itself.
//!
//! A `Ref` outlives its actor's values: after a restart in place it leads to the same mailbox, after the loss of an arbiter to a
//! new one; its holder need not know. Invariants:
//! - an end is reported exactly once per life (`live`), whoever notices it first: driver, launch or watchdog;
//! - `queued` counts the messages of the present mailbox only;
//! - nothing is sent from a fenced thread.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use actix::dev::channel::{self, AddressReceiver, AddressSender};
use thiserror::Error;

use super::{
    arbiters::{Arbiter, fenced},
    behaviour::Behaviour,
    cell::{Cell, Envelope},
    control::{Control, Order},
    exit::{ChildExit, Exit},
    hooks, lock,
    node::{Node, OnDemand, Parent, unix_ms},
    poison::Poison,
    read,
    registry::{Entry, Pulse, RestartError, Snapshot},
    spec::ChildSpec,
    write,
};

/// A message was not taken, and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TellError {
    /// The mailbox is full: wait and try again, or answer "busy".
    #[error("the actor's mailbox is full")]
    Full,
    /// The actor has ended for good, or the sender's own thread was given up as stuck: do not try again.
    #[error("the actor is gone")]
    Gone,
}

/// The address of an actor. Cheap to clone.
pub struct Ref<B: Behaviour>(Arc<Shared<B>>);

impl<B: Behaviour> Clone for Ref<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Behaviour> fmt::Debug for Ref<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({})", self.0.path)
    }
}

impl<B: Behaviour> Ref<B> {
    pub(super) const fn of(shared: Arc<Shared<B>>) -> Self {
        Self(shared)
    }

    /// Queues a message, if the mailbox has room.
    pub fn tell(&self, msg: B::Msg) -> Result<(), TellError> {
        self.0.push(Envelope::User(msg), true)
    }

    /// Queues a message whatever the mailbox holds: for completions of work that was admitted before, which are bounded by it.
    pub fn tell_urgent(&self, msg: B::Msg) -> Result<(), TellError> {
        self.0.push(Envelope::User(msg), false)
    }

    /// The actor's number, unique in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    pub fn path(&self) -> &Arc<str> {
        &self.0.path
    }

    pub(super) fn order(&self, order: Order) {
        self.0.control.give(order);
    }

    /// True between a start and the following end.
    pub fn is_live(&self) -> bool {
        self.0.is_live()
    }

    pub fn vitals(&self) -> &Vitals {
        &self.0.vitals
    }

    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

/// An actor's figures. All counters are since the actor was added to the tree.
#[derive(Debug)]
pub struct Vitals {
    pub(super) handled: AtomicU64,
    queued: AtomicU32,
    busy_since: AtomicU32,
    lives: AtomicU32,
    began_ms: AtomicU64,
}

impl Vitals {
    const fn new() -> Self {
        Self {
            handled: AtomicU64::new(0),
            queued: AtomicU32::new(0),
            busy_since: AtomicU32::new(0),
            lives: AtomicU32::new(0),
            began_ms: AtomicU64::new(0),
        }
    }

    /// Messages and timers handled.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Messages waiting.
    pub fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    pub fn restarts(&self) -> u32 {
        self.lives.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Called by the actor alone, so load and store need not be one operation.
    pub(super) fn count_handled(&self) {
        self.handled.store(self.handled() + 1, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, tick: u32) {
        self.busy_since.store(tick, Ordering::Relaxed);
    }

    pub(super) fn take_message(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the actor's messages go at present.
struct Link<B: Behaviour> {
    sender: AddressSender<Cell<B>>,
    arbiter: Arc<Arbiter>,
}

/// What changes rarely.
struct Cold<B: Behaviour> {
    /// A mailbox without a driver: before the first start, and after the loss of an arbiter.
    spare: Option<AddressReceiver<Cell<B>>>,
    state: &'static str,
    /// Left by the value for its driver, when it stops.
    exit: Option<Exit>,
    failure: Option<(String, u64)>,
    /// Poison key of the message being handled.
    in_hand: Option<String>,
    poison: Option<Box<Poison>>,
}

/// Shared by the refs, the driver, the registry and the parent of one actor.
pub(super) struct Shared<B: Behaviour> {
    pub(super) id: u64,
    path: Arc<str>,
    pub(super) node: Arc<Node>,
    pub(super) parent: Arc<dyn Parent>,
    /// Its supervisor keeps it: mailbox and place in the registry survive an end.
    pub(super) held: bool,
    mailbox: u32,
    poison_limit: u32,
    pub(super) vitals: Vitals,
    pub(super) control: Control,
    live: AtomicBool,
    link: RwLock<Link<B>>,
    cold: Mutex<Cold<B>>,
}

impl<B: Behaviour> Shared<B> {
    /// An actor that has not begun: messages told to it wait.
    pub(super) fn new(
        node: Arc<Node>,
        parent: Arc<dyn Parent>,
        parent_path: &str,
        spec: &ChildSpec,
        held: bool,
        arbiter: Arc<Arbiter>,
    ) -> Arc<Self> {
        let (sender, receiver) = channel::channel(0);
        let path = if parent_path.is_empty() {
            spec.name.as_str().into()
        } else {
            format!("{parent_path}/{}", spec.name).into()
        };
        let shared = Self {
            id: node.next_id(),
            path,
            node,
            parent,
            held,
            mailbox: spec.mailbox,
            poison_limit: spec.poison_limit,
            vitals: Vitals::new(),
            control: Control::new(),
            live: AtomicBool::new(false),
            link: RwLock::new(Link { sender, arbiter }),
            cold: Mutex::new(Cold {
                spare: Some(receiver),
                state: "starting",
                exit: None,
                failure: None,
                in_hand: None,
                poison: None,
            }),
        };
        Arc::new(shared)
    }

    pub(super) fn push(&self, envelope: Envelope<B::Msg>, bounded: bool) -> Result<(), TellError> {
        if fenced() {
            return Err(TellError::Gone);
        }
        // The count belongs to the mailbox, so both are changed under the lock that guards the change of mailbox.
        let link = read(&self.link);
        let before = self.vitals.queued.fetch_add(1, Ordering::Relaxed);
        if bounded && before >= self.mailbox {
            self.vitals.take_message();
            return Err(TellError::Full);
        }
        link.sender.do_send(envelope).map_err(|_| {
            self.vitals.take_message();
            TellError::Gone
        })
    }

    pub(super) fn set_arbiter(&self, arbiter: Arc<Arbiter>) {
        write(&self.link).arbiter = arbiter;
    }

    /// The mailbox for a driver: the one that waits for it, or a new one.
    pub(super) fn take_mailbox(&self) -> AddressReceiver<Cell<B>> {
        let waiting = lock(&self.cold).spare.take();
        waiting.unwrap_or_else(|| self.replace_mailbox(&mut write(&self.link)))
    }

    /// The driver is gone, and the mailbox with it. What is told from now on waits for the next driver, if there may be one.
    pub(super) fn lose_mailbox(&self) {
        self.lose(&mut write(&self.link));
    }

    fn lose(&self, link: &mut Link<B>) {
        let mut cold = lock(&self.cold);
        if cold.spare.is_none() {
            let receiver = self.replace_mailbox(link);
            cold.spare = self.held.then_some(receiver);
        }
    }

    /// Nobody will read what is told from now on, and what waits is dropped.
    pub(super) fn close_mailbox(&self) {
        let receiver = self.replace_mailbox(&mut write(&self.link));
        let waiting = lock(&self.cold).spare.take();
        drop((receiver, waiting));
    }

    fn replace_mailbox(&self, link: &mut Link<B>) -> AddressReceiver<Cell<B>> {
        let (sender, receiver) = channel::channel(0);
        link.sender = sender;
        self.vitals.queued.store(0, Ordering::Relaxed);
        receiver
    }

    /// Writes down that a message was begun, for the watchdog.
    pub(super) fn set_busy(&self) {
        self.vitals.set_busy(self.node.tick.load(Ordering::Relaxed));
    }

    pub(super) fn path(&self) -> &Arc<str> {
        &self.path
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    pub(super) fn life(&self) -> u32 {
        self.vitals.lives.load(Ordering::SeqCst)
    }

    pub(super) fn begin_life(&self) {
        self.vitals.lives.fetch_add(1, Ordering::SeqCst);
        self.live.store(true, Ordering::SeqCst);
    }

    /// The value has been made.
    pub(super) fn started(&self) {
        let now = self.node.uptime_ms();
        self.vitals.began_ms.store(now, Ordering::Relaxed);
        self.parent.child_started(self.id, self.life());
    }

    /// The present life is over. Only the first report of it counts.
    pub(super) fn ended(&self, reason: Exit) {
        if !self.live.swap(false, Ordering::SeqCst) {
            return;
        }
        self.vitals.set_busy(0);
        if reason.is_abnormal() && reason != Exit::Killed {
            tracing::warn!(path = %self.path, kind = B::KIND, %reason, "an actor failed");
            self.note_failure(&reason);
        }
        if !self.held {
            self.node.registry.remove(self);
        }
        let exit = ChildExit { id: self.id, path: Arc::clone(&self.path), kind: B::KIND, life: self.life(), reason };
        hooks::call(self.node.hooks.on_exit.as_ref(), &exit);
        self.parent.child_exited(exit);
    }

    fn note_failure(&self, reason: &Exit) {
        let text = reason.to_string();
        let mut cold = lock(&self.cold);
        // Only these two tell anything about the message in hand; it merely shared the fate of its thread otherwise.
        if let Some(key) = cold.in_hand.take()
            && matches!(reason, Exit::Panicked(_) | Exit::Stuck)
        {
            let limit = self.poison_limit;
            let poison = cold.poison.get_or_insert_default();
            poison.died(key, text.clone(), limit);
        }
        cold.failure = Some((text, unix_ms()));
    }

    /// Notes the key of the message about to be handled. `Err` holds the last failure if the key was set aside.
    pub(super) fn take_in_hand(&self, key: &str) -> Result<(), String> {
        let mut cold = lock(&self.cold);
        if let Some(poison) = &cold.poison
            && let Some(failure) = poison.verdict(key, self.poison_limit)
        {
            return Err(failure.to_owned());
        }
        cold.in_hand = Some(key.to_owned());
        Ok(())
    }

    pub(super) fn put_down(&self) {
        lock(&self.cold).in_hand = None;
    }

    pub(super) fn poison_news(&self) -> Option<(String, String)> {
        lock(&self.cold).poison.as_mut()?.take_news()
    }

    pub(super) fn set_state(&self, state: &'static str) {
        lock(&self.cold).state = state;
    }

    pub(super) fn leave_exit(&self, exit: Option<Exit>) {
        lock(&self.cold).exit = exit;
    }

    pub(super) fn take_exit(&self) -> Option<Exit> {
        lock(&self.cold).exit.take()
    }
}

impl<B: Behaviour> Entry for Shared<B> {
    fn id(&self) -> u64 {
        self.id
    }

    fn path(&self) -> &Arc<str> {
        &self.path
    }

    fn kind(&self) -> &'static str {
        B::KIND
    }

    fn snapshot(&self) -> Snapshot {
        let arbiter = self.arbiter().index;
        let cold = lock(&self.cold);
        let began_ms = self.vitals.began_ms.load(Ordering::Relaxed);
        Snapshot {
            path: Arc::clone(&self.path),
            kind: B::KIND,
            state: if self.is_live() { cold.state } else { "down" },
            mailbox: self.vitals.queued(),
            handled: self.vitals.handled(),
            restarts: self.vitals.restarts(),
            last_failure: cold.failure.as_ref().map(|(text, _)| text.clone()),
            last_failure_at_ms: cold.failure.as_ref().map(|(_, at_ms)| *at_ms),
            age_ms: self.node.uptime_ms().saturating_sub(began_ms),
            arbiter,
        }
    }

    fn pulse(&self) -> Pulse {
        Pulse {
            id: self.id,
            live: self.is_live(),
            queued: self.vitals.queued(),
            handled: self.vitals.handled(),
            busy_since: self.vitals.busy_since.load(Ordering::Relaxed),
        }
    }

    fn arbiter(&self) -> Arc<Arbiter> {
        Arc::clone(&read(&self.link).arbiter)
    }

    fn lost(&self, arbiter: &Arc<Arbiter>, reason: Exit) {
        {
            let mut link = write(&self.link);
            if !Arc::ptr_eq(&link.arbiter, arbiter) {
                return;
            }
            self.lose(&mut link);
        }
        self.ended(reason);
    }

    fn is_leaving(&self) -> bool {
        match self.control.order() {
            Order::Release => true,
            Order::Kill => !self.held,
            _ => !self.held && !self.is_live(),
        }
    }

    fn order(&self, order: Order) {
        self.control.give(order);
    }

    fn unregister(&self) {
        self.node.registry.remove(self);
    }

    fn request_restart(&self) -> Result<(), RestartError> {
        match self.parent.restart_child(self.id) {
            OnDemand::Done => {}
            OnDemand::Recycle => self.control.recycle(),
            OnDemand::Never => return Err(RestartError::Root),
        }
        Ok(())
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A plain actor as the parent of the children it started itself.
impl<B: Behaviour> Parent for Shared<B> {
    fn child_started(&self, _id: u64, _life: u32) {}

    fn child_exited(&self, child: ChildExit) {
        // A parent that is gone took its children with it and has nothing to learn.
        let _gone = self.push(Envelope::ChildExited(Box::new(child)), false);
    }

    fn restart_child(&self, _id: u64) -> OnDemand {
        OnDemand::Recycle
    }
}
