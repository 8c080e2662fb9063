//! The socket in the data directory, by which the command line of the same user reaches the server without a key.
//!
//! It is made with its final mode before anybody can find it: bound inside a directory that is its user's alone, then
//! moved to its place, over one that a dead server left. A server that has one already keeps it. A server that cannot
//! make one does without, and says so: the command line then needs an address and a key.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::config::local;

/// Removes the socket when it is dropped.
pub struct LocalSocket {
    path: PathBuf,
}

impl LocalSocket {
    /// Listens. The socket is there as long as the second value lives.
    pub fn listen(data_dir: &Path) -> (Option<UnixListener>, Option<Self>) {
        let path = local::socket_path(data_dir);
        match bind(data_dir, &path) {
            Ok(listener) => (Some(listener), Some(Self { path })),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "there is no local socket: the command line needs --server and --key");
                (None, None)
            }
        }
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the local socket cannot be removed");
        }
    }
}

fn bind(data_dir: &Path, path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens on it"));
    }
    // Made for its user alone, and removed with whatever is still in it.
    let private = tempfile::Builder::new().prefix(".sock").tempdir_in(data_dir)?;
    let first = private.path().join("s");
    let listener = UnixListener::bind(&first)?;
    fs::set_permissions(&first, Permissions::from_mode(0o600))?;
    fs::rename(&first, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_its_users_alone_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = local::socket_path(dir.path());
        let (listener, guard) = LocalSocket::listen(dir.path());
        assert!(listener.is_some() && UnixStream::connect(&path).is_ok());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
        let (second, _) = LocalSocket::listen(dir.path());
        assert!(second.is_none(), "a living server keeps its socket");
        assert!(UnixStream::connect(&path).is_ok());
        drop((listener, guard));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_server_left_is_replaced_and_a_path_that_cannot_be_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let path = local::socket_path(dir.path());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists() && UnixStream::connect(&path).is_err(), "stale");
        let (listener, _guard) = LocalSocket::listen(dir.path());
        assert!(listener.is_some() && UnixStream::connect(&path).is_ok());
        let long = dir.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        assert!(LocalSocket::listen(&long).0.is_none());
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }
}
