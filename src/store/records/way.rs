//! A way to an address that was judged, for a driver that takes a name alone.
//!
//! The driver has to know the name of the host, because the certificate must be of it, and would ask for the name's addresses
//! once more: a name that changes its answer in between would lead elsewhere. So the driver gets a socket in a folder that
//! nobody else may enter, and what goes into it goes to the address. TLS is between the driver and the host. Where no such folder
//! can be made, no connection is: whoever runs the server has to mend that, and no repetition does.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tempfile::TempDir;
use tokio::io::copy;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;

/// Waits for the driver, which comes once. Without it nobody can come any more; who has come goes on.
pub struct Way {
    folder: TempDir,
    waits: AbortHandle,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// Mend this server: its folder for temporary files holds no socket.
    #[error(
        "no private socket can be made in this server's folder for temporary files ({}: {error}): set TMPDIR to a folder that \
         exists, has room, may be written to and has a path of at most 70 bytes, and start the server again",
        .folder.display()
    )]
    Folder { folder: PathBuf, error: io::Error },
    /// Try again: nobody takes the connection.
    #[error("{0}")]
    Far(#[from] io::Error),
}

impl Way {
    /// Connects to the first of these addresses that takes the connection. The driver looks for its socket by this port.
    pub async fn open(addresses: &[SocketAddr], port: u16) -> Result<Self, NoWay> {
        Self::open_in(&std::env::temp_dir(), addresses, port).await
    }

    async fn open_in(temporary: &Path, addresses: &[SocketAddr], port: u16) -> Result<Self, NoWay> {
        let (folder, socket) = socket_in(temporary, port).map_err(|error| match error.raw_os_error() {
            // As many files are open as may be: that passes.
            Some(code) if [Errno::EMFILE, Errno::ENFILE].contains(&Errno::from_raw(code)) => NoWay::Far(error),
            _ => NoWay::Folder { folder: temporary.to_owned(), error },
        })?;
        let far = TcpStream::connect(addresses).await?;
        far.set_nodelay(true)?;
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

/// A socket in a folder of its own, which goes with the value.
fn socket_in(temporary: &Path, port: u16) -> io::Result<(TempDir, UnixListener)> {
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(private).tempdir_in(temporary)?;
    let socket = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{port}")))?;
    Ok((folder, socket))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_takes_no_socket_is_told_apart_from_a_host_that_does_not_answer() {
        let scratch = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let file = scratch.path().join("file");
        std::fs::write(&file, "").expect("it can be written");
        let long = scratch.path().join("x".repeat(120));
        std::fs::create_dir(&long).expect("it can be made");
        for unfit in [scratch.path().join("absent"), file, long] {
            let opened = Way::open_in(&unfit, &[address], address.port()).await;
            let said = opened.err().expect("there is no way");
            assert!(matches!(&said, NoWay::Folder { folder, .. } if *folder == unfit), "{said}");
            let said = said.to_string();
            assert!(said.contains(&unfit.display().to_string()) && said.contains("set TMPDIR"), "{said}");
        }
        assert!(Way::open_in(scratch.path(), &[address], address.port()).await.is_ok(), "here is one");
        drop(listener);
        let opened = Way::open_in(scratch.path(), &[address], address.port()).await;
        assert!(matches!(opened, Err(NoWay::Far(_))), "nobody is there");
    }
}
