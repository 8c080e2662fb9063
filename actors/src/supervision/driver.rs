//! The task that runs an actor: it survives what the actor does not.
//!
//! ```text
//!            exit, panic, kill                  order: start
//!   Running ───────────────────> Held ───────────────────────> Running
//!      │ (child of a plain actor)  │ order: release
//!      └────────> done <───────────┘
//! ```
//! The value is dropped at once when its life ends, so reply channels in it are closed and children die; the mailbox stays.
//! Invariants:
//! - a driver that is dropped before it is done reports that its arbiter was lost, once;
//! - on a fenced thread a driver does nothing any more and reports nothing.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{Context, dev::ContextFut};

use super::{
    actor_ref::Shared,
    arbiters::{Arbiter, fenced},
    behaviour::Behaviour,
    cell::Cell,
    control::Order,
    ctx::Core,
    exit::Exit,
};

pub(super) struct Driver<B: Behaviour> {
    fut: ContextFut<Cell<B>, Context<Cell<B>>>,
    shared: Arc<Shared<B>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Held,
    Done,
}

/// `ContextFut` is never pinned, nor is anything else here.
impl<B: Behaviour> Unpin for Driver<B> {}

impl<B: Behaviour> Driver<B> {
    /// Starts the actor on the current thread, which must be an arbiter. The caller has attached the control.
    pub(super) fn launch_here(shared: Arc<Shared<B>>, args: B::Args) {
        let mailbox = shared.take_mailbox();
        let cell = Cell::new(Core::new(Arc::clone(&shared)), args);
        let fut = Context::with_receiver(mailbox).into_future(cell);
        actix_rt::spawn(Self { fut, shared, phase: Phase::Running });
    }

    /// Starts the actor on another thread. If that thread is dead the actor ends as lost; its mailbox waits.
    pub(super) fn launch_on(arbiter: &Arbiter, shared: Arc<Shared<B>>, args: B::Args) {
        let mut launch = Launch { shared, args: Some(args) };
        arbiter.run(move || {
            if !fenced()
                && let Some(args) = launch.args.take()
            {
                Self::launch_here(Arc::clone(&launch.shared), args);
            }
        });
    }

    /// Runs the actor until its present life ends.
    fn poll_life(&mut self, task: &mut TaskContext<'_>) -> Poll<Exit> {
        match self.shared.control.order() {
            Order::Kill | Order::Release => return Poll::Ready(Exit::Killed),
            _ => {}
        }
        let fut = &mut self.fut;
        match catch_unwind(AssertUnwindSafe(|| Pin::new(fut).poll(task))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(self.shared.take_exit().unwrap_or(Exit::Normal)),
            Err(panic) => Poll::Ready(Exit::Panicked(text(panic.as_ref()))),
        }
    }

    /// Drops the value, tells of the end, and waits to be told what is next.
    fn end_life(&mut self, exit: Exit) {
        let fut = &mut self.fut;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fut.restart())) {
            let text = text(panic.as_ref());
            tracing::error!(path = %self.shared.path(), text, "dropping an actor's value panicked");
        }
        self.shared.control.clear();
        if self.shared.held {
            self.phase = Phase::Held;
        } else {
            self.phase = Phase::Done;
            self.shared.control.detach();
        }
        self.shared.ended(exit);
    }

    fn poll_held(&mut self) -> Poll<()> {
        let control = &self.shared.control;
        match control.order() {
            Order::Start if control.take(Order::Start) => self.phase = Phase::Running,
            Order::Release if control.leave() => self.phase = Phase::Done,
            // An order to stop overtook the order to start.
            Order::Shutdown | Order::Kill if self.shared.is_live() => {
                control.clear();
                self.shared.ended(Exit::Shutdown);
                return Poll::Pending;
            }
            _ => return Poll::Pending,
        }
        Poll::Ready(())
    }
}

impl<B: Behaviour> Future for Driver<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        // A zombie must not even register its waker: the control serves the actor's next driver by now.
        if fenced() {
            self.phase = Phase::Done;
            return Poll::Ready(());
        }
        self.shared.control.register(task.waker());
        loop {
            match self.phase {
                Phase::Running => {
                    let exit = std::task::ready!(self.poll_life(task));
                    if fenced() {
                        self.phase = Phase::Done;
                    } else {
                        self.end_life(exit);
                    }
                }
                Phase::Held => std::task::ready!(self.poll_held()),
                Phase::Done => return Poll::Ready(()),
            }
        }
    }
}

impl<B: Behaviour> Drop for Driver<B> {
    fn drop(&mut self) {
        if self.phase != Phase::Done && !fenced() {
            // In this order: once detached, the next driver may come for the mailbox.
            self.shared.lose_mailbox();
            self.shared.control.detach();
            self.shared.ended(Exit::ArbiterLost);
        }
    }
}

/// An actor on its way to its thread.
struct Launch<B: Behaviour> {
    shared: Arc<Shared<B>>,
    args: Option<B::Args>,
}

impl<B: Behaviour> Drop for Launch<B> {
    fn drop(&mut self) {
        if self.args.is_some() && !fenced() {
            self.shared.control.detach();
            self.shared.ended(Exit::ArbiterLost);
        }
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
