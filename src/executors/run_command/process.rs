//! One process with a group of its own, from its start until nothing of the group is left.
//!
//! The leader is killed, or waited for, before anybody reaps it: as long as it is not reaped its number belongs to the
//! group, so that the signal cannot reach a stranger who was given the number since.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Read beyond the limit, so that a secret at the limit can be seen whole: the largest there is, in base64.
pub const MARGIN_BYTES: usize = 131_072;
/// How long what is left of the output is awaited once the program has ended.
const GRACE: Duration = Duration::from_millis(500);
const CHUNK_BYTES: usize = 16_384;

/// What is to be run.
pub struct Order<'a> {
    pub path: &'a Path,
    pub args: &'a [String],
    /// The whole environment.
    pub env: Vec<(String, String)>,
    pub stdin: Vec<u8>,
    pub directory: &'a str,
    /// Of each output, in bytes.
    pub limit: usize,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// A little more than the limit.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Whether more was printed.
    pub is_cut: bool,
}

/// Kills the group when it is dropped before it has ended.
struct Group {
    child: Child,
    leader: Pid,
    is_over: bool,
}

impl Group {
    fn kill(&self) {
        // A group that has no process any more is as it should be.
        let _ = killpg(self.leader, Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_over {
            self.kill();
        }
    }
}

/// Runs a program to its end. Dropping this kills it with all that it has started.
pub async fn run(order: Order<'_>) -> io::Result<Ended> {
    let mut children = signal(SignalKind::child())?;
    let mut command = Command::new(order.path);
    command.args(order.args).env_clear().envs(order.env).current_dir(order.directory).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let number = child.id().and_then(|id| i32::try_from(id).ok());
    let leader = Pid::from_raw(number.ok_or_else(|| io::Error::other("the process has no number"))?);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(mut output), Some(mut errors)) = pipes else {
        return Err(io::Error::other("the process has no pipes"));
    };
    let mut group = Group { child, leader, is_over: false };
    let (mut stdout, mut stderr) = (Kept::new(order.limit), Kept::new(order.limit));
    let write = async {
        // A program need not read what it is given.
        let _ = input.write_all(&order.stdin).await;
        drop(input);
    };
    let end = async {
        while !has_ended(leader)? {
            children.recv().await;
        }
        // What it has started and left behind in its group ends here.
        let _ = killpg(leader, Signal::SIGKILL);
        Ok::<_, io::Error>(())
    };
    let read = async {
        let ((), outputs, errors) = tokio::join!(write, stdout.read(&mut output), stderr.read(&mut errors));
        outputs.and(errors)
    };
    let is_left_open = {
        tokio::pin!(read, end);
        let done = tokio::select! {
            done = &mut read => {
                end.await?;
                Some(done)
            }
            ended = &mut end => {
                ended?;
                // Who has left the group may hold the pipes open for ever: the program itself has ended.
                tokio::time::timeout(GRACE, read).await.ok()
            }
        };
        let is_left_open = done.is_none();
        done.unwrap_or(Ok(()))?;
        is_left_open
    };
    let status = group.child.wait().await?;
    group.is_over = true;
    let is_cut = stdout.is_cut || stderr.is_cut || is_left_open;
    Ok(Ended { code: status.code(), signal: status.signal(), stdout: stdout.bytes, stderr: stderr.bytes, is_cut })
}

/// Whether a process has ended, without reaping it.
fn has_ended(leader: Pid) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    match waitid(Id::Pid(leader), flags) {
        Ok(WaitStatus::StillAlive) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The beginning of an output.
struct Kept {
    bytes: Vec<u8>,
    most: usize,
    is_cut: bool,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), most: limit + MARGIN_BYTES, is_cut: false }
    }

    /// Reads to the end; what is too much is dropped, so that the program is not held up.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = from.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            let room = self.most - self.bytes.len();
            self.is_cut |= count > room;
            self.bytes.extend_from_slice(&chunk[..count.min(room)]);
        }
    }
}
