//! A PostgreSQL server of a test's own, which it may stop and start. The one that tests share is nobody's to touch.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/with-postgres.sh");
/// Runs until the process with this number has ended, so that the server goes with the test, however that ends.
const WHILE_IT_LIVES: &str = "while kill -0 \"$0\" 2>/dev/null; do sleep 1; done";
/// For making a database server, on a machine that is busy with other tests.
const START: Duration = Duration::from_mins(2);

/// The server, which lives as long as this.
pub struct PostgresServer {
    script: Child,
    /// A login that may make databases and roles.
    pub url: String,
    control: PathBuf,
}

impl PostgresServer {
    /// Starts one that has nothing in it.
    pub fn start() -> Self {
        let mut script = Command::new(SCRIPT)
            .args(["sh", "-c", WHILE_IT_LIVES, &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script can be run");
        let lines = BufReader::new(script.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let (said, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let mut control = PathBuf::new();
            for line in lines {
                if let Some(path) = line.strip_prefix("CORE314_TEST_POSTGRES_CONTROL=") {
                    control = PathBuf::from(path);
                } else if let Some(url) = line.strip_prefix("CORE314_TEST_POSTGRES_URL=") {
                    drop(said.send((url.to_owned(), control.clone())));
                } else {
                    println!("with-postgres.sh: {line}");
                }
            }
        });
        let (url, control) = hear.recv_timeout(START).expect("PostgreSQL starts; what it said is above");
        Self { script, url, control }
    }

    /// Ends it and starts it again: in order, or as if its machine had lost power.
    pub fn restart(&self, at_once: bool) {
        self.control(&["-m", if at_once { "immediate" } else { "fast" }, "restart"]);
    }

    /// Ends it, and its clients' sessions.
    pub fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// Starts it after [`Self::stop`].
    pub fn start_again(&self) {
        self.control(&["start"]);
    }

    fn control(&self, arguments: &[&str]) {
        let status = Command::new(&self.control)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pg_ctl can be run");
        assert!(status.success(), "pg_ctl {arguments:?}: {status}");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // It stops the server and removes what that had.
        kill(Pid::from_raw(self.script.id().cast_signed()), Signal::SIGTERM).ok();
        self.script.wait().ok();
    }
}
