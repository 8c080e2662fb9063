//! Clients of the event stream, as cheap as they can be made: all on one thread, one buffer for all reads.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use chrono::DateTime;
use core314_domain::ids::UserId;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

/// Connections that are being made at once.
const CONNECTING: usize = 50;

/// Whose each run is, and when its trigger was answered.
#[derive(Default)]
pub struct Accepted(Mutex<HashMap<Uuid, (usize, Instant)>>);

impl Accepted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (usize, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, run: Uuid, tenant: usize, answered_at: Instant) {
        self.lock().insert(run, (tenant, answered_at));
    }

    pub fn clear(&self) {
        self.lock().clear();
    }
}

/// What all clients have heard together.
#[derive(Default)]
pub struct Heard {
    pub changes: u64,
    pub events: u64,
    /// Changes of runs that are not the client's tenant's.
    pub foreign: u64,
    /// Changes, by tenant of the client, of runs that were not known yet; judged at the end.
    unknown: Vec<(usize, Uuid)>,
    /// Completed runs.
    pub ends: u64,
    pub ended_streams: u64,
    /// From the commit of a change (to the millisecond) to its arrival.
    pub from_commit: Vec<Duration>,
    /// From the answer to a trigger to the first that a client heard of its run.
    pub from_answer: Vec<Duration>,
    /// CPU of the listeners' thread so far.
    pub cpu_us: u64,
}

/// The running clients.
pub struct Listeners {
    ask: mpsc::UnboundedSender<oneshot::Sender<(u64, u64)>>,
    heard: Arc<Mutex<Heard>>,
    accepted: Arc<Accepted>,
}

impl Listeners {
    /// Connects so many clients, the users in turn, and returns when all of them have heard where they stand.
    pub async fn start(
        url: &str,
        key: &str,
        users: Vec<UserId>,
        count: usize,
        accepted: Arc<Accepted>,
    ) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("the node speaks HTTP")?.to_owned();
        let (ask, asked) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (key, shared, runs) = (key.to_owned(), heard.clone(), accepted.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let world =
                Rc::new(World { address, key, users, accepted: runs, heard: shared, buffer: RefCell::default() });
            LocalSet::new().block_on(&runtime, listen(world, count, ready, asked));
            anyhow::Ok(())
        });
        is_ready.await.context("the listeners' thread has ended")??;
        Ok(Self { ask, heard, accepted })
    }

    /// CPU of the clients' thread so far.
    pub async fn cpu_us(&mut self) -> anyhow::Result<u64> {
        self.ask().await.map(|(cpu_us, _)| cpu_us)
    }

    async fn ask(&self) -> anyhow::Result<(u64, u64)> {
        let (answer, answered) = oneshot::channel();
        self.ask.send(answer).context("the listeners' thread has ended")?;
        answered.await.context("the listeners' thread has ended")
    }

    /// Waits until that many ends of runs were heard, or patience has ended, and hangs up.
    pub async fn until_ended(self, ends: u64, patience: Duration) -> anyhow::Result<Heard> {
        let started = Instant::now();
        loop {
            let (cpu_us, so_far) = self.ask().await?;
            if so_far >= ends || started.elapsed() > patience {
                let mut heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
                heard.cpu_us = cpu_us;
                let accepted = self.accepted.lock();
                let is_own = |tenant: usize, run| accepted.get(run).is_some_and(|(owner, _)| *owner == tenant);
                let foreign = heard.unknown.iter().filter(|(tenant, run)| !is_own(*tenant, run)).count();
                heard.foreign += foreign as u64;
                return Ok(heard);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What the clients share.
struct World {
    address: String,
    key: String,
    users: Vec<UserId>,
    accepted: Arc<Accepted>,
    heard: Arc<Mutex<Heard>>,
    buffer: RefCell<Vec<u8>>,
}

/// Runs the clients until nobody asks any more.
async fn listen(
    world: Rc<World>,
    count: usize,
    ready: oneshot::Sender<anyhow::Result<()>>,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<(u64, u64)>>,
) {
    let gate = Rc::new(Semaphore::new(CONNECTING));
    let mut connecting = JoinSet::new();
    for n in 0..count {
        let (world, gate) = (world.clone(), gate.clone());
        connecting.spawn_local(async move {
            let _permit = gate.acquire().await.context("the gate is open")?;
            let mut client = Client::connect(&world, n % world.users.len()).await?;
            while !client.is_open {
                client.read(&world).await?;
            }
            anyhow::Ok(client)
        });
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(connected) = connecting.join_next().await {
        match connected.map_err(anyhow::Error::from).flatten() {
            Ok(client) => clients.push(client),
            Err(error) => return drop(ready.send(Err(error))),
        }
    }
    let mut listening = JoinSet::new();
    for mut client in clients {
        let world = world.clone();
        listening.spawn_local(async move {
            while client.read(&world).await.is_ok() {}
            world.heard().ended_streams += 1;
        });
    }
    // Nobody waits when the workload has been given up.
    drop(ready.send(Ok(())));
    while let Some(answer) = asked.recv().await {
        let cpu_us = own_cpu_us();
        // Whoever asked may have given up.
        let _ = answer.send((cpu_us, world.heard().ends));
    }
}

/// CPU of this thread.
fn own_cpu_us() -> u64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| {
        let micros = |t: nix::sys::time::TimeVal| t.tv_sec() as u64 * 1_000_000 + t.tv_usec() as u64;
        micros(usage.user_time()) + micros(usage.system_time())
    })
}

impl World {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client.
struct Client {
    tenant: usize,
    connection: TcpStream,
    /// What has come of a head or a chunk that is not whole.
    rest: Vec<u8>,
    has_head: bool,
    /// The first chunk has come.
    is_open: bool,
    /// Runs that it has heard of and that go on.
    begun: HashSet<Uuid>,
}

#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow)]
    changes: Vec<RunChange<'a>>,
}

#[derive(Deserialize)]
struct RunChange<'a> {
    id: Uuid,
    run_status: &'a str,
    at: &'a str,
}

impl Client {
    async fn connect(world: &World, tenant: usize) -> anyhow::Result<Self> {
        let mut connection = TcpStream::connect(&world.address).await?;
        let request = format!(
            "GET /api/v1/stream?topics=runs HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nX-User-Id: {}\r\n\r\n",
            world.address, world.key, world.users[tenant]
        );
        connection.write_all(request.as_bytes()).await?;
        Ok(Self { tenant, connection, rest: Vec::new(), has_head: false, is_open: false, begun: HashSet::new() })
    }

    /// Reads what is there, waiting for something. An error when the stream has ended.
    async fn read(&mut self, world: &World) -> anyhow::Result<()> {
        self.connection.readable().await?;
        let mut buffer = world.buffer.borrow_mut();
        buffer.resize(64 << 10, 0);
        match self.connection.try_read(&mut buffer) {
            Ok(0) => bail!("the stream has ended"),
            Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        drop(buffer);
        self.take_whole(world)
    }

    /// Takes the head and every whole chunk (RFC 9112, section 7.1); the server sends whole blocks in each.
    fn take_whole(&mut self, world: &World) -> anyhow::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut left = &rest[..];
        if !self.has_head {
            let Some(end) = find(left, b"\r\n\r\n") else {
                self.rest = rest;
                return Ok(());
            };
            let head = String::from_utf8_lossy(&left[..end]);
            if !head.starts_with("HTTP/1.1 200 ") {
                bail!("the stream was refused: {head}");
            }
            self.has_head = true;
            left = &left[end + 4..];
        }
        while let Some(line) = find(left, b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&left[..line])?, 16)?;
            let Some(chunk) = left.get(line + 2..line + 2 + size) else { break };
            if left.len() < line + size + 4 {
                break;
            }
            if size == 0 {
                bail!("the stream has ended");
            }
            self.is_open = true;
            self.take_blocks(std::str::from_utf8(chunk)?, world)?;
            left = &left[line + size + 4..];
        }
        self.rest = left.to_vec();
        Ok(())
    }

    fn take_blocks(&mut self, text: &str, world: &World) -> anyhow::Result<()> {
        let (now, now_ms) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64);
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let Changes { changes } = serde_json::from_str(data).with_context(|| format!("cannot be read: {data}"))?;
            let (accepted, mut heard) = (world.accepted.lock(), world.heard());
            heard.events += 1;
            for change in changes {
                heard.changes += 1;
                let committed_ms = DateTime::parse_from_rfc3339(change.at)?.timestamp_millis();
                heard.from_commit.push(Duration::from_millis((now_ms - committed_ms).max(0) as u64));
                let is_first = self.begun.insert(change.id);
                match accepted.get(&change.id) {
                    None => heard.unknown.push((self.tenant, change.id)),
                    Some((tenant, _)) if *tenant != self.tenant => heard.foreign += 1,
                    Some((_, answered_at)) if is_first => {
                        heard.from_answer.push(now.saturating_duration_since(*answered_at));
                    }
                    Some(_) => {}
                }
                if change.run_status == "completed" {
                    heard.ends += 1;
                    self.begun.remove(&change.id);
                }
            }
        }
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
