//! A whole supervision tree: its root, its registry, its end.

use std::{io, sync::Arc};

use tokio::sync::watch;

use super::{
    arbiters::ArbiterPool,
    exit::{ChildExit, Exit},
    hooks::{self, Hooks},
    node::{Node, OnDemand, Parent},
    registry::{Registry, StartError},
    spec::SupervisorSpec,
    supervisor::SupervisorRef,
    watchdog::{Patience, Watchdog},
};

/// The root supervisor and what it holds. Dropping it stops nothing; `stop` does.
pub struct Tree {
    node: Arc<Node>,
    root: SupervisorRef,
    end: watch::Receiver<Option<Exit>>,
}

impl Tree {
    /// Starts an empty tree whose root has the path `name`.
    pub fn start(name: &str, spec: SupervisorSpec, pool: Arc<ArbiterPool>, hooks: Hooks) -> Result<Self, StartError> {
        let node = Node::new(pool, hooks);
        let (told, end) = watch::channel(None);
        let owner = Arc::new(Owner { node: Arc::clone(&node), told });
        let root = SupervisorRef::start_root(&node, name, spec, owner)?;
        Ok(Self { node, root, end })
    }

    pub const fn root(&self) -> &SupervisorRef {
        &self.root
    }

    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    pub fn pool(&self) -> &Arc<ArbiterPool> {
        &self.node.pool
    }

    /// Stops every actor, children before their supervisors, the last started first; returns how the root ended.
    pub async fn stop(&self) -> Exit {
        self.root.shutdown();
        self.ended().await
    }

    /// Waits for the end of the root.
    pub async fn ended(&self) -> Exit {
        let mut end = self.end.clone();
        let exit = end.wait_for(Option::is_some).await;
        // The sender lives as long as the root; it can vanish untold only with the root's thread.
        exit.map_or(Exit::ArbiterLost, |exit| exit.clone().unwrap_or(Exit::ArbiterLost))
    }

    /// Starts the watchdog on a thread of its own. It stops when the handle is dropped.
    pub fn watch(&self, patience: Patience) -> io::Result<Watchdog> {
        Watchdog::start(Arc::clone(&self.node), patience)
    }

    #[cfg(test)]
    pub(super) const fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

/// The root's parent: there is nobody left to decide, so the process is told.
struct Owner {
    node: Arc<Node>,
    told: watch::Sender<Option<Exit>>,
}

impl Parent for Owner {
    fn child_started(&self, _id: u64, _life: u32) {}

    fn child_exited(&self, child: ChildExit) {
        if child.reason.is_abnormal() {
            hooks::call(self.node.hooks.on_root_failure.as_ref(), &child.reason);
        }
        self.told.send_replace(Some(child.reason));
    }

    fn restart_child(&self, _id: u64) -> OnDemand {
        OnDemand::Never
    }
}
