//! Who was here before: the node that the data directory served last.
//!
//! A process that was killed leaves its lease behind, for which another node has to wait. Not so the process that follows it
//! in the same directory: the file `node` there names the node, and is locked for as long as its process lives. Whoever gets
//! the lock knows that the node in the file has ended, whatever the database still believes of it.
//!
//! How someone could get this wrong: to name itself there after it has joined (dying in between, it would be waited for); to
//! take a session that has ended for a process that has ended, which a restart of the database teaches otherwise.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use core314_domain::ids::RowId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The directory, for as long as this lives: as long as its process, or a successor takes it for ended too soon.
pub struct Home {
    file: Flock<File>,
}

impl Home {
    /// Locks the directory. `None` where another process of this machine has it: then nobody knows who was here.
    pub fn lock(data_dir: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(data_dir.join("node"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// The same until the process ends, and not a moment less: what it still does at its end is its own.
    pub fn lock_for_good(data_dir: &Path) -> io::Result<Option<&'static mut Self>> {
        Ok(Self::lock(data_dir)?.map(|home| Box::leak(Box::new(home))))
    }

    /// Names the node that is here from now on, and gives the one that was here before.
    pub fn follow(&mut self, node: RowId) -> io::Result<Option<RowId>> {
        let mut was = String::new();
        self.file.seek(SeekFrom::Start(0))?;
        // Whatever stands there that is no id was not written to its end: its node had not joined.
        (&mut *self.file).take(64).read_to_string(&mut was)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(node.to_string().as_bytes())?;
        Ok(was.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_directory_knows_who_had_it_before() {
        let dir = tempfile::tempdir().unwrap();
        let node = |no| RowId(uuid::Uuid::from_u128(no));
        let mut home = Home::lock(dir.path()).unwrap().expect("nobody is here");
        assert_eq!(home.follow(node(1)).unwrap(), None);
        assert!(Home::lock(dir.path()).unwrap().is_none(), "somebody is here");
        assert_eq!(home.follow(node(2)).unwrap(), Some(node(1)));
        drop(home);
        let mut home = Home::lock(dir.path()).unwrap().expect("it has ended");
        assert_eq!(home.follow(node(3)).unwrap(), Some(node(2)));
        drop(home);
        std::fs::write(dir.path().join("node"), "0190a000-0000").unwrap();
        let mut home = Home::lock(dir.path()).unwrap().expect("nobody is here");
        assert_eq!(home.follow(node(4)).unwrap(), None, "it was not written to its end");
    }
}
