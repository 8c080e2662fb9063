//! The runtime that a store's sockets belong to.
//!
//! Whoever waits for a socket is woken by the runtime in which it was connected, whatever thread waits. An arbiter has a
//! runtime of its own: a session opened from one would stand still, for everybody it is lent to, while that arbiter is
//! busy with something else, and for ever when it hangs. So sockets are connected where the store was opened.

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::failure::Failure;

#[derive(Debug, Clone)]
pub(super) struct Home(Handle);

impl Home {
    /// The runtime of the caller, who must be in one.
    pub fn here() -> Self {
        Self(Handle::current())
    }

    /// Does there what opens a socket. Dropped, it is ended.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
        let mut one = JoinSet::new();
        one.spawn_on(work, &self.0);
        match one.join_next().await {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) | None => Err(Failure::Unavailable("the threads for I/O have stopped".to_owned())),
        }
    }
}
