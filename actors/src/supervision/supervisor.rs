//! The actor around `Policy`: it tells the policy what happened and does what the policy decides.
//!
//! Its list of children (`Brood`) outlives its values, so a supervisor that was restarted finds its children, and refs to
//! them stay valid. What runs at that moment is stopped in reverse order, then everything is started in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    actor_ref::{Ref, Shared, TellError},
    behaviour::Behaviour,
    control::Order,
    ctx::Ctx,
    driver::Driver,
    exit::{ChildExit, Exit},
    hooks::{self, ActorRestarted},
    lock,
    node::{Node, OnDemand, Parent},
    policy::{Action, ChildId, Policy, Verdict},
    registry::{Entry, StartError},
    spec::{ChildSpec, Placement, SupervisorSpec},
    timers::TimerKey,
};
use crate::random::random;

/// A handle to a supervisor. Cheap to clone; it does not keep the supervisor.
#[derive(Clone)]
pub struct SupervisorRef {
    actor: Ref<Supervisor>,
    node: Arc<Node>,
    brood: Weak<Brood>,
}

impl SupervisorRef {
    /// Adds a child and has it started after those added before. The address is good at once: messages wait.
    pub fn start_child<B: Behaviour>(&self, spec: ChildSpec, args: B::Args) -> Result<Ref<B>, StartError> {
        let brood = self.brood.upgrade().ok_or_else(|| StartError::SupervisorGone(Arc::clone(self.path())))?;
        let shared = Shared::<B>::new(
            Arc::clone(&self.node),
            Arc::new(Link(self.actor.clone())),
            self.path(),
            &spec,
            true,
            self.node.pool.assign(Placement::Control),
        );
        let registered = Arc::clone(&shared) as Arc<dyn Entry>;
        self.node.registry.insert(registered)?;
        let child = Slot { shared: Arc::clone(&shared), spec, args: Mutex::new(args) };
        lock(&brood.0).insert(shared.id, Arc::new(child));
        // If the supervisor is between two lives, the message waits for the next.
        let _gone = self.actor.tell_urgent(Msg::Adopt(shared.id));
        Ok(Ref::of(shared))
    }

    /// Adds a supervisor as a permanent child: when it gives up, this one restarts it, children and all, or gives up too.
    pub fn start_supervisor(&self, name: &str, spec: SupervisorSpec) -> Result<Self, StartError> {
        let brood = Arc::new(Brood::default());
        let weak = Arc::downgrade(&brood);
        let child = ChildSpec::new(name).shutdown_timeout(None).placement(Placement::Control);
        let actor = self.start_child::<Supervisor>(child, Args { spec, brood })?;
        Ok(Self { actor, node: Arc::clone(&self.node), brood: weak })
    }

    /// Stops a child in an orderly way, forgets it, and returns when it is gone. `Gone` if the supervisor ended or was restarted
    /// meanwhile: look, and ask again.
    pub async fn stop_child(&self, id: u64) -> Result<(), TellError> {
        let (done, gone) = oneshot::channel();
        self.actor.tell_urgent(Msg::Remove(id, done))?;
        gone.await.map_err(|_| TellError::Gone)
    }

    pub fn path(&self) -> &Arc<str> {
        self.actor.path()
    }

    /// The root of a tree, on the current thread's choice of arbiter: the pool's arbiter for supervisors.
    pub(super) fn start_root(
        node: &Arc<Node>,
        name: &str,
        spec: SupervisorSpec,
        owner: Arc<dyn Parent>,
    ) -> Result<Self, StartError> {
        let brood = Arc::new(Brood::default());
        let weak = Arc::downgrade(&brood);
        let arbiter = node.pool.assign(Placement::Control);
        let shared =
            Shared::<Supervisor>::new(Arc::clone(node), owner, "", &ChildSpec::new(name), false, Arc::clone(&arbiter));
        node.registry.insert(Arc::clone(&shared) as Arc<dyn Entry>)?;
        shared.begin_life();
        shared.control.attach();
        let args = Args { spec, brood };
        Driver::launch_on(&arbiter, Arc::clone(&shared), args);
        Ok(Self { actor: Ref::of(shared), node: Arc::clone(node), brood: weak })
    }

    /// Asks a root to stop; its owner is told when it has.
    pub(super) fn shutdown(&self) {
        self.actor.order(Order::Shutdown);
    }
}

/// How a child reaches its supervisor.
struct Link(Ref<Supervisor>);

impl Parent for Link {
    fn child_started(&self, id: u64, life: u32) {
        let _gone = self.0.tell_urgent(Msg::Started { id, life });
    }

    fn child_exited(&self, child: ChildExit) {
        let _gone = self.0.tell_urgent(Msg::Exited(child));
    }

    fn restart_child(&self, id: u64) -> OnDemand {
        let _gone = self.0.tell_urgent(Msg::Restart(id));
        OnDemand::Done
    }
}

/// A supervised child, whatever its type.
trait Child: Send + Sync {
    fn spec(&self) -> &ChildSpec;
    fn entry(&self) -> &dyn Entry;
    fn life(&self) -> u32;
    fn is_live(&self) -> bool;
    /// Begins a life: in place if there is a driver on a sound thread, else on a thread and with a mailbox of its own.
    fn start(&self);
    /// Closes the mailbox, and drops the value if there is one.
    fn release(&self);
}

struct Slot<B: Behaviour> {
    shared: Arc<Shared<B>>,
    spec: ChildSpec,
    args: Mutex<B::Args>,
}

impl<B: Behaviour> Child for Slot<B> {
    fn spec(&self) -> &ChildSpec {
        &self.spec
    }

    fn entry(&self) -> &dyn Entry {
        &*self.shared
    }

    fn life(&self) -> u32 {
        self.shared.life()
    }

    fn is_live(&self) -> bool {
        self.shared.is_live()
    }

    fn start(&self) {
        self.shared.begin_life();
        if !self.shared.arbiter().is_lost() && self.shared.control.give(Order::Start) {
            return;
        }
        let arbiter = self.shared.node.pool.assign(self.spec.placement);
        let args = lock(&self.args).clone();
        self.shared.set_arbiter(Arc::clone(&arbiter));
        self.shared.control.attach();
        Driver::launch_on(&arbiter, Arc::clone(&self.shared), args);
    }

    fn release(&self) {
        if !self.shared.control.give(Order::Release) || self.shared.arbiter().is_lost() {
            self.shared.close_mailbox();
        }
    }
}

/// The children of one supervisor, in the order of their starting.
#[derive(Default)]
pub(super) struct Brood(Mutex<BTreeMap<ChildId, Arc<dyn Child>>>);

impl Drop for Brood {
    /// The supervisor has ended for good, and so have its children.
    fn drop(&mut self) {
        for child in lock(&self.0).values().rev() {
            child.release();
            child.entry().unregister();
        }
    }
}

#[derive(Clone)]
pub(super) struct Args {
    spec: SupervisorSpec,
    brood: Arc<Brood>,
}

pub(super) enum Msg {
    Adopt(ChildId),
    Remove(ChildId, oneshot::Sender<()>),
    Restart(ChildId),
    Started { id: ChildId, life: u32 },
    Exited(ChildExit),
    Wake,
}

pub(super) struct Supervisor {
    policy: Policy,
    brood: Arc<Brood>,
    /// Why children that are down ended.
    reasons: BTreeMap<ChildId, Exit>,
    /// Whoever waits for a child to be gone.
    waiting: BTreeMap<ChildId, Vec<oneshot::Sender<()>>>,
    wake: Option<TimerKey>,
    began: Instant,
}

impl Behaviour for Supervisor {
    const KIND: &'static str = "supervisor";
    type Msg = Msg;
    type Args = Args;

    fn start(args: &Args, ctx: &mut Ctx<'_, Self>) -> Self {
        let mut supervisor = Self {
            policy: Policy::new(args.spec),
            brood: Arc::clone(&args.brood),
            reasons: BTreeMap::new(),
            waiting: BTreeMap::new(),
            wake: None,
            began: Instant::now(),
        };
        let children: Vec<_> = lock(&args.brood.0).values().cloned().collect();
        for child in children {
            supervisor.adopt(&*child);
        }
        supervisor.step(ctx);
        supervisor
    }

    fn handle(&mut self, msg: Msg, ctx: &mut Ctx<'_, Self>) {
        let now = self.now();
        match msg {
            Msg::Adopt(id) => {
                if let Some(child) = self.child(id) {
                    self.adopt(&*child);
                }
            }
            Msg::Remove(id, done) => {
                if self.policy.contains(id) {
                    self.waiting.entry(id).or_default().push(done);
                    self.policy.remove(id);
                } else {
                    // Nobody waits any more if this fails.
                    let _unheard = done.send(());
                }
            }
            Msg::Restart(id) => self.policy.restart(id, now),
            Msg::Started { id, life } => self.child_started(id, life, ctx),
            Msg::Exited(exit) => {
                // A supervisor that was restarted may still find news of lives that its earlier self had ended.
                if self.child(exit.id).is_some_and(|c| c.life() == exit.life) {
                    self.policy.exited(exit.id, &exit.reason, now, random());
                    self.reasons.insert(exit.id, exit.reason);
                }
            }
            Msg::Wake => self.wake = None,
        }
        self.step(ctx);
    }

    fn shutdown(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.policy.shutdown();
        self.step(ctx);
    }

    fn state(&self) -> &'static str {
        if self.policy.is_ending() {
            "stopping"
        } else if self.policy.is_settled() {
            "running"
        } else {
            "settling"
        }
    }
}

impl Supervisor {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn child(&self, id: ChildId) -> Option<Arc<dyn Child>> {
        lock(&self.brood.0).get(&id).cloned()
    }

    fn adopt(&mut self, child: &dyn Child) {
        let (id, spec, now) = (child.entry().id(), child.spec(), self.now());
        self.policy.add(id, spec.restart, spec.shutdown_timeout, child.is_live(), now);
    }

    fn child_started(&mut self, id: ChildId, life: u32, ctx: &Ctx<'_, Self>) {
        let Some(child) = self.child(id).filter(|child| child.life() == life) else {
            return;
        };
        self.policy.started(id);
        let reason = self.reasons.remove(&id).unwrap_or(Exit::Shutdown);
        if life > 1 {
            let event = ActorRestarted {
                path: Arc::clone(child.entry().path()),
                kind: child.entry().kind(),
                reason,
                nth: life - 1,
            };
            tracing::info!(path = %event.path, kind = event.kind, reason = %event.reason, nth = event.nth, "an actor was restarted");
            hooks::call(ctx.hooks().on_restart.as_ref(), &event);
        }
    }

    /// Does what the policy decides, and sees to being woken when it wants to decide again.
    fn step(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now = self.now();
        for action in self.policy.advance(now) {
            self.act(action, ctx);
        }
        if let Some(key) = self.wake.take() {
            ctx.cancel(key);
        }
        if let Some(at) = self.policy.next_wake(now) {
            self.wake = Some(ctx.after(at.saturating_sub(now), Msg::Wake));
        }
    }

    fn act(&mut self, action: Action, ctx: &mut Ctx<'_, Self>) {
        let order = |id, order| {
            if let Some(child) = self.child(id) {
                child.entry().order(order);
            }
        };
        match action {
            Action::Start(id) => {
                if let Some(child) = self.child(id) {
                    child.start();
                }
            }
            Action::Shutdown(id) => order(id, Order::Shutdown),
            Action::Kill(id) => order(id, Order::Kill),
            Action::Abandon(id) => {
                if let Some(child) = self.child(id) {
                    ctx.abandon(child.entry());
                }
            }
            Action::Release(id) => {
                if let Some(child) = self.child(id) {
                    child.release();
                }
            }
            Action::Forget(id) => self.forget(id),
            Action::Finished(Verdict::Stopped) => ctx.stop(),
            Action::Finished(Verdict::GaveUp { child, exit }) => {
                let path = self.child(child).map(|c| Arc::clone(c.entry().path()));
                let path = path.as_deref().unwrap_or("a child").to_owned();
                ctx.fail(format!("gave up after too many restarts; last, {path} {exit}"));
            }
        }
    }

    fn forget(&mut self, id: ChildId) {
        let child = lock(&self.brood.0).remove(&id);
        if let Some(child) = child {
            child.release();
            child.entry().unregister();
        }
        self.reasons.remove(&id);
        for done in self.waiting.remove(&id).unwrap_or_default() {
            // Nobody waits any more if this fails.
            let _unheard = done.send(());
        }
    }
}
