//! The feed: committed changes, as they happen, for whoever listens.
//!
//! ```text
//! partitions, supervision, … ── publish(scope, topic, id, change) ──► a hub per tenant ──► subscriptions
//!                                                              └────► the platform's hub, which sees all tenants
//! ```
//! A hub exists while somebody listens, and a minute longer. Where nobody does, publishing is one atomic read.
//!
//! - A change is published after its commit, never before: who reads the store on hearing of it finds it.
//! - A tenant's change reaches the tenant's hub and the platform's, and no other.
//! - Publishing never waits: not for a client, not for memory (everything here is bounded).
//! - Nothing is missed silently: when something may have been, clients are told to start anew.
//!
//! Positions are explained in `docs/adr/007-stream-positions.md`.

mod event;
mod hub;
mod topic;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use core314_domain::ids::{Owner, TenantId};
use dashmap::DashMap;
use serde::Serialize;
use tokio::sync::watch;

use crate::ports::Scope;
use event::Position;
use hub::{Hub, Next};
pub use topic::{Topic, Topics};

/// The feed of a node. Clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    io: tokio::runtime::Handle,
    /// By tenant; the platform's is under its own, the nil id.
    hubs: DashMap<TenantId, Arc<Hub>>,
    /// How many hubs there are.
    listening: AtomicUsize,
    clients: AtomicUsize,
    dropped: AtomicU64,
    closed: AtomicBool,
}

/// How many may listen at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub clients: usize,
    pub clients_per_tenant: usize,
}

/// Why nobody was let in. The variants say what the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Come back when others have left.
    #[error("this server has as many streams as it takes")]
    Full,
    /// Close another stream of the tenant.
    #[error("the tenant has as many streams as it may")]
    TenantFull,
    /// Come back when it is up again.
    #[error("the server is stopping")]
    Closed,
}

impl Feed {
    /// A feed whose tasks run there.
    pub fn new(io: tokio::runtime::Handle) -> Self {
        Self(Arc::new(Inner {
            io,
            hubs: DashMap::new(),
            listening: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }))
    }

    /// Whether anybody would hear of a change.
    pub fn listens(&self, scope: Scope, topic: Topic) -> bool {
        self.listeners(scope, topic).next().is_some()
    }

    /// Tells who listens of a committed change of the thing with this id. `change` is called only if somebody does; its
    /// JSON should hold the id.
    pub fn publish<C: Serialize>(&self, scope: Scope, topic: Topic, id: impl Display, change: impl FnOnce() -> C) {
        let mut listeners = self.listeners(scope, topic).peekable();
        if listeners.peek().is_none() {
            return;
        }
        match serde_json::to_string(&change()) {
            Ok(text) => {
                let text: Arc<str> = text.into();
                listeners.for_each(|hub| hub.offer(topic, id.to_string(), text.clone()));
            }
            Err(error) => {
                tracing::error!(%topic, %error, "a change cannot be written as JSON; its listeners start anew");
                listeners.for_each(|hub| hub.begin_anew());
            }
        }
    }

    /// The hubs that want a change of this scope: the tenant's and the platform's.
    fn listeners(&self, scope: Scope, topic: Topic) -> impl Iterator<Item = Arc<Hub>> + use<> {
        let nobody = self.0.listening.load(Ordering::Acquire) == 0;
        let platform = Owner::platform().tenant;
        let tenant = match scope {
            Scope::Tenant(tenant) if tenant != platform => Some(tenant),
            Scope::Tenant(_) | Scope::Platform => None,
        };
        let hub = |tenant: Option<TenantId>| {
            let hub = self.0.hubs.get(&tenant?)?.clone();
            hub.records(topic).then_some(hub)
        };
        let hubs = if nobody { [None, None] } else { [hub(tenant), hub(Some(platform))] };
        hubs.into_iter().flatten()
    }

    /// Lets somebody listen to these topics of a scope, from the place on that `last` names, or from now.
    pub fn subscribe(
        &self,
        scope: Scope,
        topics: Topics,
        last: Option<&str>,
        limits: Limits,
    ) -> Result<Subscription, Refused> {
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(Refused::Closed);
        }
        let one_more = |clients: usize| (clients < limits.clients).then_some(clients + 1);
        self.0.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| Refused::Full)?;
        let joined = self.join(tenant_of(scope), topics, last, limits.clients_per_tenant);
        let Some((hub, place, misses_nothing)) = joined else {
            self.0.clients.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::TenantFull);
        };
        // Closed between the first look and the new hub: it must not stay open.
        if self.0.closed.load(Ordering::SeqCst) {
            hub.close();
        }
        let opening = if misses_nothing { event::opening(place) } else { event::reset(place) };
        let moved = hub.moved();
        Ok(Subscription { feed: self.0.clone(), hub, moved, topics, place, opening: Some(opening) })
    }

    fn join(
        &self,
        tenant: TenantId,
        topics: Topics,
        last: Option<&str>,
        limit: usize,
    ) -> Option<(Arc<Hub>, Position, bool)> {
        // While the entry is held its hub cannot be forgotten.
        let entry = self.0.hubs.entry(tenant).or_insert_with(|| {
            let hub = Arc::new(Hub::new());
            let (driven, weak) = (hub.clone(), Arc::downgrade(&self.0));
            self.0.listening.fetch_add(1, Ordering::AcqRel);
            self.0.io.spawn(async move {
                driven.drive(|| weak.upgrade().is_none_or(|feed| feed.forget(tenant))).await;
            });
            hub
        });
        let (place, misses_nothing) = entry.join(topics, last, limit)?;
        Some((entry.clone(), place, misses_nothing))
    }

    /// Some changes may have gone unpublished: all who listen are told to start anew. To be called when whatever was
    /// missed can be read from the store.
    pub fn begin_anew(&self) {
        self.0.hubs.iter().for_each(|hub| hub.begin_anew());
    }

    /// Ends every stream and lets nobody in any more.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.hubs.iter().for_each(|hub| hub.close());
    }

    /// How many listen.
    pub fn clients(&self) -> usize {
        self.0.clients.load(Ordering::Relaxed)
    }

    /// How many were ended since the start because they read too slowly.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// Forgets a tenant's hub that nobody has listened to for long enough.
    fn forget(&self, tenant: TenantId) -> bool {
        let forgotten = self.hubs.remove_if(&tenant, |_, hub| hub.is_forgotten()).is_some();
        if forgotten {
            self.listening.fetch_sub(1, Ordering::AcqRel);
        }
        forgotten
    }
}

fn tenant_of(scope: Scope) -> TenantId {
    match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::Platform => Owner::platform().tenant,
    }
}

/// Somebody who listens.
pub struct Subscription {
    feed: Arc<Inner>,
    hub: Arc<Hub>,
    moved: watch::Receiver<()>,
    topics: Topics,
    place: Position,
    opening: Option<Arc<[u8]>>,
}

impl Subscription {
    /// The next block of the event stream; `None` at its end. Nothing is lost when the future is dropped early.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        loop {
            self.moved.mark_unchanged();
            match self.hub.after(self.place, self.topics) {
                Next::Frame(text, place) => {
                    self.place = place;
                    return Some(text);
                }
                Next::Anew(place) => {
                    self.place = place;
                    return Some(event::reset(place));
                }
                Next::Nothing(place) => self.place = place,
                Next::Gone => {
                    self.feed.dropped.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Next::Closed => return None,
            }
            // The hub is held here, so its end of the channel is open.
            self.moved.changed().await.ok()?;
        }
    }

    /// A block that says nothing but where the stream stands.
    pub fn heartbeat(&self) -> Arc<[u8]> {
        event::heartbeat(self.place)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave();
        self.feed.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
