//! Orders to an actor's driver that do not queue behind its messages: one word and the waker of the driver's task.
//!
//! Only the actor's supervisor or parent gives orders, one at a time, so a later order may overwrite an earlier one; the
//! exception is `Recycle`, which anybody may ask for and which therefore yields to everything else.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    task::Waker,
};

use futures_util::task::AtomicWaker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    None = 0,
    /// Stop in an orderly way.
    Shutdown,
    /// End as failed, so that the parent may start a fresh one.
    Recycle,
    /// Drop the value before its next message.
    Kill,
    /// Only while held after an exit: go on with a fresh value.
    Start,
    /// End for good: drop value and mailbox.
    Release,
    /// Not an order: there is no driver to give one to.
    Detached,
}

impl Order {
    const ALL: [Self; 7] =
        [Self::None, Self::Shutdown, Self::Recycle, Self::Kill, Self::Start, Self::Release, Self::Detached];
}

#[derive(Debug)]
pub(super) struct Control {
    word: AtomicU8,
    waker: AtomicWaker,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self { word: AtomicU8::new(Order::Detached as u8), waker: AtomicWaker::new() }
    }

    /// False if there is no driver.
    pub(super) fn give(&self, order: Order) -> bool {
        let given = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            (word != Order::Detached as u8).then_some(order as u8)
        });
        self.waker.wake();
        given.is_ok()
    }

    /// A new driver is on its way; orders to the one before it are void.
    pub(super) fn attach(&self) {
        self.word.store(Order::None as u8, Ordering::SeqCst);
    }

    /// The driver has gone unasked.
    pub(super) fn detach(&self) {
        self.word.store(Order::Detached as u8, Ordering::SeqCst);
    }

    /// The driver goes because it was released. False if it has been ordered otherwise meanwhile.
    pub(super) fn leave(&self) -> bool {
        self.replace(Order::Release, Order::Detached)
    }

    /// Asks for a fresh value unless another order is outstanding.
    pub(super) fn recycle(&self) {
        if self.replace(Order::None, Order::Recycle) {
            self.waker.wake();
        }
    }

    pub(super) fn order(&self) -> Order {
        Order::ALL[usize::from(self.word.load(Ordering::Acquire))]
    }

    /// Takes the order off the table if it is still this one.
    pub(super) fn take(&self, order: Order) -> bool {
        self.order() == order && self.replace(order, Order::None)
    }

    /// Forgets an order that came too late, unless it is to end for good.
    pub(super) fn clear(&self) {
        let order = self.order();
        if !matches!(order, Order::Release | Order::Detached) {
            self.replace(order, Order::None);
        }
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn replace(&self, old: Order, new: Order) -> bool {
        self.word.compare_exchange(old as u8, new as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
