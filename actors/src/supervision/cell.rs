//! The one actix actor: it holds a `Behaviour`'s value and feeds it.
//!
//! actix gives the mailbox, the poll loop and the restart in place; what is added here is that every handler is accounted for
//! (vitals, poison key, state), that a flooded actor gives way to others on its arbiter, and that orders and timers are looked
//! at between messages. Invariant: the value's code runs inside `ContextFut::poll` only, so the driver catches every panic.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use actix::{
    Actor, ActorContext as _, ActorFuture, ActorState, AsyncContext as _, Context, Handler, Message, Running,
    Supervised,
};

use super::{
    arbiters::fenced,
    behaviour::Behaviour,
    control::Order,
    ctx::{Core, Ctx},
    exit::{ChildExit, Exit},
};

/// Messages handled before the task gives way: a few microseconds' worth.
const BUDGET: u32 = 128;

pub(super) enum Envelope<M> {
    User(M),
    ChildExited(Box<ChildExit>),
}

impl<M: Send + 'static> Message for Envelope<M> {
    type Result = ();
}

pub(super) struct Cell<B: Behaviour> {
    /// None until `started`, and between two lives.
    value: Option<B>,
    args: B::Args,
    core: Core<B>,
}

/// Nothing here is ever pinned; actix asks for this.
impl<B: Behaviour> Unpin for Cell<B> {}

impl<B: Behaviour> Cell<B> {
    pub(super) const fn new(core: Core<B>, args: B::Args) -> Self {
        Self { value: None, args, core }
    }

    /// Runs a piece of the value's code, and does what it left behind.
    fn run(&mut self, ctx: &mut Context<Self>, handler: impl FnOnce(&mut B, &mut Ctx<'_, B>)) {
        let Some(value) = self.value.as_mut() else {
            return;
        };
        let core = &mut self.core;
        core.shared.set_busy();
        handler(value, &mut Ctx { core });
        core.shared.vitals.set_busy(0);
        core.spent += 1;
        let state = value.state();
        if !std::ptr::eq(state, core.state) {
            core.state = state;
            core.shared.set_state(state);
        }
        if core.exit.is_some() {
            ctx.stop();
        }
    }

    fn dispatch(&mut self, msg: B::Msg, ctx: &mut Context<Self>) {
        self.run(ctx, |value, ctx| {
            let key = B::poison_key(&msg);
            if let Some(key) = &key
                && let Err(failure) = ctx.core.shared.take_in_hand(key)
            {
                value.poisoned(key, &failure, ctx);
                return;
            }
            if let Some(failpoint) = ctx.core.shared.node.hooks.before_handle {
                failpoint(B::KIND, ctx.core.shared.path());
            }
            value.handle(msg, ctx);
            if key.is_some() {
                ctx.core.shared.put_down();
            }
        });
        self.core.shared.vitals.count_handled();
    }

    /// Looks at the order on the table. Kill and release are the driver's.
    fn obey(&mut self, ctx: &mut Context<Self>) {
        let control = &self.core.shared.control;
        match control.order() {
            Order::Shutdown if control.take(Order::Shutdown) => {
                self.core.asked = true;
                self.run(ctx, B::shutdown);
            }
            Order::Recycle if control.take(Order::Recycle) => {
                self.run(ctx, |_, ctx| ctx.fail("a restart was requested"));
            }
            // A start that crossed with news of an end that was none: we run, so say so.
            Order::Start if control.take(Order::Start) => self.core.shared.started(),
            _ => {}
        }
    }
}

impl<B: Behaviour> Actor for Cell<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Dropping a context that never ran polls it once; nothing must begin then.
        if ctx.state() == ActorState::Stopping {
            return;
        }
        self.core.shared.set_busy();
        let core = &mut self.core;
        self.value = Some(B::start(&self.args, &mut Ctx { core }));
        // If it took too long, another thread has started it meanwhile.
        if fenced() {
            ctx.terminate();
            return;
        }
        self.core.shared.started();
        self.run(ctx, |_, _| {});
        while let Some((key, failure)) = self.core.shared.poison_news() {
            self.run(ctx, |value, ctx| value.poisoned(&key, &failure, ctx));
        }
        ctx.spawn(Pump);
    }

    fn stopping(&mut self, _ctx: &mut Context<Self>) -> Running {
        let orderly = matches!(self.core.exit, Some(Exit::Normal | Exit::Shutdown));
        if orderly
            && !fenced()
            && let Some(value) = self.value.as_mut()
        {
            let core = &mut self.core;
            core.shared.set_busy();
            value.stopping(&mut Ctx { core });
        }
        Running::Stop
    }

    fn stopped(&mut self, _ctx: &mut Context<Self>) {
        self.core.shared.leave_exit(self.core.exit.take());
    }
}

impl<B: Behaviour> Supervised for Cell<B> {
    /// Ends a life; `started` begins the next.
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.core.reset();
        drop(self.value.take());
    }
}

impl<B: Behaviour> Handler<Envelope<B::Msg>> for Cell<B> {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<B::Msg>, ctx: &mut Context<Self>) {
        if fenced() {
            ctx.terminate();
            return;
        }
        self.core.shared.vitals.take_message();
        match envelope {
            Envelope::User(msg) => self.dispatch(msg, ctx),
            Envelope::ChildExited(child) => {
                if self.core.forget_child(child.id) {
                    self.run(ctx, |value, ctx| value.child_exited(*child, ctx));
                }
            }
        }
        if self.core.spent >= BUDGET || self.core.shared.control.order() != Order::None {
            self.core.spent = 0;
            ctx.wait(GiveWay { gave: false });
        }
    }
}

/// Runs beside the mailbox, at every poll: orders and timers. It has no size, so actix need not allocate it.
struct Pump;

impl<B: Behaviour> ActorFuture<Cell<B>> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        cell: &mut Cell<B>,
        ctx: &mut Context<Cell<B>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        cell.obey(ctx);
        while cell.core.exit.is_none()
            && let Some(timers) = &mut cell.core.timers
        {
            if cell.core.spent >= BUDGET {
                task.waker().wake_by_ref();
                break;
            }
            let Poll::Ready(msg) = timers.poll_due(task) else {
                break;
            };
            cell.dispatch(msg, ctx);
        }
        cell.core.spent = 0;
        Poll::Pending
    }
}

/// Lets the other tasks of the arbiter run once.
struct GiveWay {
    gave: bool,
}

impl<B: Behaviour> ActorFuture<Cell<B>> for GiveWay {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _cell: &mut Cell<B>,
        _ctx: &mut Context<Cell<B>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if self.gave {
            return Poll::Ready(());
        }
        self.gave = true;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
