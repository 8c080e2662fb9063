//! Who waits for the end of a run or an execution.
//!
//! A waiter registers first and looks at the store afterwards, so that an end in between is not missed. Nothing here
//! survives the process: a caller that waited asks again.

use dashmap::DashMap;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The waiters of this node, by what they wait for.
#[derive(Debug, Default)]
pub struct Ends {
    waiting: DashMap<Uuid, Vec<oneshot::Sender<()>>>,
}

impl Ends {
    /// Resolves once the run or execution has ended. Whoever drops it before leaves nothing behind but until the end.
    pub fn wait(&self, id: Uuid) -> oneshot::Receiver<()> {
        let (tell, heard) = oneshot::channel();
        let mut waiting = self.waiting.entry(id).or_default();
        waiting.retain(|tell| !tell.is_closed());
        waiting.push(tell);
        heard
    }

    /// It has ended, durably.
    pub fn tell(&self, id: Uuid) {
        if self.waiting.is_empty() {
            return;
        }
        for tell in self.waiting.remove(&id).map(|(_, waiting)| waiting).unwrap_or_default() {
            // Whoever has gone away does not want to know.
            let _unheard = tell.send(());
        }
    }

    /// Drops what nobody waits for any more.
    pub fn forget(&self, id: Uuid) {
        self.waiting.remove_if_mut(&id, |_, waiting| {
            waiting.retain(|tell| !tell.is_closed());
            waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reaches_all_waiters_and_nobody_stays_behind() {
        let (ends, id) = (Ends::default(), Uuid::from_u128(1));
        let (mut one, mut two) = (ends.wait(id), ends.wait(id));
        assert!(one.try_recv().is_err());
        ends.tell(id);
        assert_eq!((one.try_recv(), two.try_recv()), (Ok(()), Ok(())));
        drop(ends.wait(id));
        ends.forget(id);
        assert!(ends.waiting.is_empty());
    }
}
