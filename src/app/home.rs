//! Who was here before: the node that the data directory served last.
//!
//! A process that was killed leaves its lease behind, for which another node has to wait. Not so the process that follows it
//! in the same directory: the file `node` there names the node, and is locked for as long as its process lives. Whoever gets
//! the lock knows that the node in the file has ended, whatever the database still believes of it. Beside the node stand the
//! machine's start and the file itself: in a copy of the directory, or on another machine that shares it, the lock says
//! nothing of the process that the line is of.
//!
//! It is a shortcut and no more: where anything of it fails, the lease is waited for.
//!
//! How someone could get this wrong: to name itself there after it has joined (dying in between, it would be waited for), or
//! alone before it has (then its predecessor would be); to take a session that has ended for a process that has ended, which
//! a restart of the database teaches otherwise.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use core314_domain::ids::RowId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Changes with each start of the machine. Other systems than Linux have none.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Nodes that did not come to join, and are named all the same. What came before them has run out meanwhile.
const MOST_NAMED: usize = 16;

/// The directory, as far as this process has it.
pub struct Home {
    data_dir: PathBuf,
    /// Locked until the process ends, and not a moment less: what it still does at its end is its own.
    locked: Option<&'static mut Locked>,
    /// Which node stands there alone.
    settled: Option<RowId>,
    has_warned: bool,
}

impl Home {
    pub const fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, locked: None, settled: None, has_warned: false }
    }

    /// Names the node that is about to join, and gives those that were here before. Nobody, where another process has the
    /// directory, or it cannot be written: then nobody knows who was here.
    pub fn follow(&mut self, node: RowId) -> Vec<RowId> {
        self.attempt(|locked| locked.follow(node)).unwrap_or_default()
    }

    /// The node has joined, and is named alone. Another process may have had the directory until now: call it again.
    pub fn settle(&mut self, node: RowId) {
        if self.settled != Some(node) && self.attempt(|locked| locked.settle(node)).is_some() {
            self.settled = Some(node);
        }
    }

    fn attempt<T>(&mut self, what: impl FnOnce(&mut Locked) -> io::Result<T>) -> Option<T> {
        if self.locked.is_none() {
            match Locked::lock(&self.data_dir) {
                Ok(locked) => self.locked = locked.map(|locked| Box::leak(Box::new(locked))),
                Err(error) => self.warn(&error),
            }
        }
        match what(self.locked.as_deref_mut()?) {
            Ok(done) => Some(done),
            Err(error) => {
                self.warn(&error);
                None
            }
        }
    }

    /// Once: it is tried again with every look.
    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                %error,
                "the file `node` in the data directory cannot be locked and written: after a crash this node's lease is waited for"
            );
        }
    }
}

/// The file, locked for as long as this lives.
struct Locked {
    file: Flock<File>,
    /// What a line must end with to be of this machine since it started, and of this very file.
    place: String,
}

impl Locked {
    /// `None` where another process of this machine has it.
    fn lock(data_dir: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(data_dir.join("node"))?;
        let about = file.metadata()?;
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        let boot = if boot.trim().is_empty() { "-" } else { boot.trim() };
        let place = format!("{boot} {} {}", about.dev(), about.ino());
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { file, place })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    fn follow(&mut self, node: RowId) -> io::Result<Vec<RowId>> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&mut *self.file).take(64 << 10).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        // Whatever is no such line was not written to its end, or somewhere else.
        let of_line = |line: &str| line.split_once(' ').filter(|(_, place)| *place == self.place)?.0.parse().ok();
        let were: Vec<RowId> = text.lines().filter_map(of_line).take(MOST_NAMED).collect();
        self.name(std::iter::once(node).chain(were.iter().copied()))?;
        Ok(were)
    }

    fn settle(&mut self, node: RowId) -> io::Result<()> {
        self.name(std::iter::once(node))
    }

    fn name(&mut self, nodes: impl Iterator<Item = RowId>) -> io::Result<()> {
        let lines = nodes.map(|node| format!("{node} {}\n", self.place)).collect::<Vec<_>>().concat();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(lines.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(no: u128) -> RowId {
        RowId(uuid::Uuid::from_u128(no))
    }

    fn locked(dir: &Path) -> Locked {
        Locked::lock(dir).unwrap().expect("nobody is here")
    }

    #[test]
    fn whoever_has_the_directory_knows_who_had_it_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = locked(dir.path());
        assert_eq!(home.follow(node(1)).unwrap(), []);
        assert!(Locked::lock(dir.path()).unwrap().is_none(), "somebody is here");
        home.settle(node(1)).unwrap();
        drop(home);
        let mut home = locked(dir.path());
        assert_eq!(home.follow(node(2)).unwrap(), [node(1)]);
        drop(home);
        // It has not joined, or nobody knows: the one before it is still to be crossed out.
        let mut home = locked(dir.path());
        assert_eq!(home.follow(node(3)).unwrap(), [node(2), node(1)]);
        home.settle(node(3)).unwrap();
        drop(home);
        let file = dir.path().join("node");
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 2]).unwrap();
        assert_eq!(locked(dir.path()).follow(node(4)).unwrap(), [], "it was not written to its end");
    }

    #[test]
    fn a_copied_directory_and_another_start_of_the_machine_say_nothing() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        locked(dir.path()).follow(node(1)).unwrap();
        std::fs::copy(dir.path().join("node"), copy.path().join("node")).unwrap();
        assert_eq!(locked(copy.path()).follow(node(2)).unwrap(), []);
        let mut restarted = locked(dir.path());
        restarted.place = format!("another-boot {}", restarted.place.split_once(' ').unwrap().1);
        assert_eq!(restarted.follow(node(3)).unwrap(), []);
    }

    #[test]
    fn a_directory_that_becomes_free_is_taken_later_and_one_that_cannot_be_written_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let other = locked(dir.path());
        let mut home = Home::new(dir.path().to_owned());
        assert_eq!(home.follow(node(1)), []);
        home.settle(node(1));
        assert_eq!(home.settled, None, "somebody else is here");
        drop(other);
        home.settle(node(1));
        assert_eq!(home.settled, Some(node(1)));
        assert!(std::fs::read_to_string(dir.path().join("node")).unwrap().starts_with(&node(1).to_string()));
        let mut nowhere = Home::new(dir.path().join("missing"));
        assert_eq!(nowhere.follow(node(2)), []);
        nowhere.settle(node(2));
        assert_eq!((nowhere.settled, nowhere.has_warned), (None, true));
    }
}
