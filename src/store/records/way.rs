//! A way to an address that was judged, for a driver that takes a name alone.
//!
//! The driver has to know the name of the host, because the certificate must be of it, and would ask for the name's addresses
//! once more: a name that changes its answer in between would lead elsewhere. So the driver gets a socket in a folder that
//! nobody else may enter, and what goes into it goes to the address. TLS is between the driver and the host.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::copy;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;

/// Waits for the driver, which comes once. Without it nobody can come any more; who has come goes on.
pub struct Way {
    folder: TempDir,
    waits: AbortHandle,
}

impl Way {
    /// Connects to the first of these addresses that takes the connection. The driver looks for its socket by this port.
    pub async fn open(addresses: &[SocketAddr], port: u16) -> io::Result<Self> {
        let far = TcpStream::connect(addresses).await?;
        far.set_nodelay(true)?;
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
        let socket = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{port}")))?;
        let waits = tokio::spawn(async move {
            if let Ok((near, _)) = socket.accept().await {
                tokio::spawn(carry(near, far));
            }
        });
        Ok(Self { folder, waits: waits.abort_handle() })
    }

    /// Where the driver finds its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.waits.abort();
    }
}

/// Carries what either side says to the other, until one of them has nothing more to say: whatever ends it, the driver sees a
/// connection that has ended.
async fn carry(mut near: UnixStream, mut far: TcpStream) {
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    tokio::select! {
        _ = copy(&mut from_near, &mut to_far) => {}
        _ = copy(&mut from_far, &mut to_near) => {}
    }
}
