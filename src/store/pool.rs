//! A few connections, lent out one at a time.
//!
//! A connection comes back only from whoever finished with it properly. One that saw an error, or whose borrower was
//! dropped in the middle of a transaction, is closed, which rolls its transaction back; the next borrower connects anew.
//! So nobody ever finds a transaction, a lock or a setting that somebody else left behind.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Connection, Connector};
use super::failure::Failure;

pub(super) struct Pool {
    connector: Connector,
    permits: Semaphore,
    /// How long a borrower waits for a connection before the store is called busy.
    wait: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Opens no connection yet.
    pub fn new(connector: Connector, size: usize, wait: Duration) -> Self {
        Self { connector, permits: Semaphore::new(size), wait, idle: Mutex::new(Vec::with_capacity(size)) }
    }

    pub async fn lend(&self) -> Result<Lent<'_>, Failure> {
        let permit = tokio::time::timeout(self.wait, self.permits.acquire()).await;
        let permit = permit
            .map_err(|_| Failure::Unavailable("all connections to the database are in use".to_owned()))?
            .map_err(|_| Failure::Unavailable("the store is closed".to_owned()))?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        Ok(Lent { pool: self, connection: Some(connection), _permit: permit })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("nobody panics while holding the list")
    }
}

/// A connection on loan.
pub(super) struct Lent<'p> {
    pool: &'p Pool,
    connection: Option<Connection>,
    _permit: SemaphorePermit<'p>,
}

impl Lent<'_> {
    /// Gives the connection back for others to use. Call it outside of any transaction only.
    pub fn give_back(mut self) {
        self.pool.idle().extend(self.connection.take());
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("present until it is given back")
    }
}

impl std::ops::DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("present until it is given back")
    }
}
