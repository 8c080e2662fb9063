//! Two ways to leave a server's files no room: a small file system that is filled, and a limit on the size of files.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Server;

/// Room for the log of SQLite at its longest, and for the file.
const SIZE: &str = "size=48m,mode=0700";

/// A file system in memory that can be filled.
pub struct Filled {
    folder: PathBuf,
}

impl Filled {
    /// Mounts it on this folder, which is made. The error is for a person: it takes root, and a system that lets it.
    pub fn mount(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "core314-test"]).arg(folder).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { folder: folder.to_owned() }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("there is room for a name");
        for size in [1 << 20, 4 << 10] {
            let block = vec![0; size];
            while ballast.write_all(&block).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // Also where a server still has files open in it: then it goes with that.
        Command::new("umount").arg("--lazy").arg(&self.folder).status().ok();
    }
}

/// The limit on the size of the files that a server writes.
pub struct FileLimit {
    process: u32,
    /// The file that grows with each commit.
    log: PathBuf,
}

impl FileLimit {
    /// No limit yet.
    pub fn of(server: &Server, log: PathBuf) -> Self {
        Self { process: server.pid(), log }
    }

    /// Nothing grows beyond what the log has now.
    pub fn set(&self) {
        let bytes = std::fs::metadata(&self.log).expect("the log is there").len();
        self.limit(&format!("--fsize={bytes}:"));
    }

    pub fn lift(&self) {
        self.limit("--fsize=unlimited:");
    }

    fn limit(&self, limit: &str) {
        let status = Command::new("prlimit").args(["--pid", &self.process.to_string(), limit]).status();
        assert!(status.expect("prlimit (util-linux) can be run").success(), "prlimit {limit}");
    }
}
