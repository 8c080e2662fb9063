//! A tenant's hub: changes go in, frames come out, and every client of the tenant reads the same frames.
//!
//! ```text
//! offer ─► pending (by topic and id, the last wins) ─ 100 ms ─► frames of the last minute ─► clients, each with a place
//! ```
//! One bounded list of frames serves two ends: clients that are connected read on in it, and those that come back take
//! up where they were. A client whose place has fallen out of it reads too slowly, and is ended.
//!
//! - A frame is made once, whatever the number of clients, by the one task of the hub: so frames are numbered in order.
//! - A lock is held for moves of pointers alone; text is made outside. Who offers a change never waits for a client.
//! - When changes may have been missed, the hub begins a new life: places of an earlier one lead to a reset.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::event::{self, Position};
use super::topic::{Topic, Topics};

/// How long changes are gathered.
pub const GATHER: Duration = Duration::from_millis(100);
/// How long a hub without clients keeps recording for those who come back, and how long a frame is kept.
pub const LINGER: Duration = Duration::from_mins(1);
/// Changes in one frame, at most; when so many are pending they do not wait any longer.
const FRAME_CHANGES: usize = 500;
/// Changes that may be pending; past that the hub's task does not keep up, and clients start anew.
const MAX_PENDING: usize = 20_000;
/// Frames that are kept.
const MAX_FRAMES: usize = 1_024;
/// Bytes of frames that are kept; the newest always is.
const MAX_BYTES: usize = 1 << 20;

/// A tenant's hub.
pub struct Hub {
    /// Topics that somebody has asked for; read without the lock by those who have a change.
    recorded: AtomicU16,
    state: Mutex<State>,
    /// There is something to do for the hub's task.
    wake: Notify,
    /// So much is pending that it should not wait.
    full: Notify,
    /// Told after every change of the state that clients should look at.
    moved: watch::Sender<()>,
}

struct State {
    /// Where the last frame stands.
    at: Position,
    pending: HashMap<(Topic, String), (u64, Arc<str>)>,
    /// How many changes were offered: their order.
    offered: u64,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// After which frame each topic is recorded.
    since: [u64; Topic::ALL.len()],
    clients: usize,
    /// Since when there has been no client.
    idle_since: Option<Instant>,
    /// What is pending is still sent; then it is closed.
    closing: bool,
    closed: bool,
}

struct Frame {
    number: u64,
    topic: Topic,
    text: Arc<[u8]>,
    made_at: Instant,
}

/// What comes after a position.
pub enum Next {
    /// A frame of one of the topics, and where the client then stands.
    Frame(Arc<[u8]>, Position),
    /// Nothing yet; the client stands at the end.
    Nothing(Position),
    /// Something may have been missed: the client goes on from here.
    Anew(Position),
    /// The client was too slow: what it should read next is gone.
    Gone,
    /// The hub is closed.
    Closed,
}

impl Hub {
    /// A hub in its first life.
    pub fn new() -> Self {
        let state = State {
            at: Position { life: rand::random(), number: 0 },
            pending: HashMap::new(),
            offered: 0,
            frames: VecDeque::new(),
            bytes: 0,
            since: [u64::MAX; Topic::ALL.len()],
            clients: 0,
            idle_since: Some(Instant::now()),
            closing: false,
            closed: false,
        };
        Self {
            recorded: AtomicU16::new(0),
            state: Mutex::new(state),
            wake: Notify::new(),
            full: Notify::new(),
            moved: watch::Sender::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody has asked for this topic.
    pub fn records(&self, topic: Topic) -> bool {
        Topics::of_bits(self.recorded.load(Ordering::Acquire)).contains(topic)
    }

    /// Takes a change, as JSON; an earlier one of the same thing that is still pending is forgotten.
    pub fn offer(&self, topic: Topic, id: String, change: Arc<str>) {
        let mut state = self.lock();
        state.offered += 1;
        let order = state.offered;
        state.pending.insert((topic, id), (order, change));
        let count = state.pending.len();
        if count > MAX_PENDING {
            state.begin_anew();
            drop(state);
            self.moved.send_replace(());
            return;
        }
        drop(state);
        match count {
            1 => self.wake.notify_one(),
            FRAME_CHANGES => self.full.notify_one(),
            _ => {}
        }
    }

    /// Lets a client in, if there are fewer than `limit`. Gives its place, and whether it has missed nothing.
    pub fn join(&self, topics: Topics, last: Option<&str>, limit: usize) -> Option<(Position, bool)> {
        let mut state = self.lock();
        if state.clients >= limit {
            return None;
        }
        state.clients += 1;
        state.idle_since = None;
        let number = state.at.number;
        for topic in topics.iter() {
            let since = &mut state.since[topic as usize];
            *since = (*since).min(number);
        }
        self.recorded.fetch_or(topics.bits(), Ordering::AcqRel);
        let place = match last {
            None => Some(state.at),
            Some(text) => text.parse().ok().filter(|at| state.leads_on_from(*at, topics)),
        };
        Some((place.unwrap_or(state.at), place.is_some()))
    }

    /// A client has gone.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.clients -= 1;
        if state.clients == 0 {
            state.idle_since = Some(Instant::now());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// What a client at this place reads next.
    pub fn after(&self, place: Position, topics: Topics) -> Next {
        let state = self.lock();
        if place.life != state.at.life {
            return Next::Anew(state.at);
        }
        if place.number + (state.frames.len() as u64) < state.at.number {
            return Next::Gone;
        }
        let skip = state.frames.len() - (state.at.number - place.number) as usize;
        match state.frames.iter().skip(skip).find(|frame| topics.contains(frame.topic)) {
            Some(frame) => Next::Frame(frame.text.clone(), Position { number: frame.number, ..place }),
            None if state.closed => Next::Closed,
            None => Next::Nothing(state.at),
        }
    }

    /// Told whenever a client should look.
    pub fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Changes may have been missed: whoever reads is told to start anew.
    pub fn begin_anew(&self) {
        self.lock().begin_anew();
        self.moved.send_replace(());
    }

    /// Lets the hub's task send what is pending, and close.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
        self.full.notify_one();
    }

    /// Whether nobody has listened for long enough.
    pub fn is_forgotten(&self) -> bool {
        self.lock().forgotten_at().is_some_and(|at| at <= Instant::now())
    }

    /// The hub's task: makes frames until the hub is closed, or `forget` has agreed to forget it.
    pub async fn drive(&self, forget: impl Fn() -> bool) {
        loop {
            let (forgotten_at, closing) = {
                let state = self.lock();
                (state.forgotten_at(), state.closing)
            };
            if closing {
                self.flush();
                self.lock().closed = true;
                self.moved.send_replace(());
                return;
            }
            let forgotten = async {
                match forgotten_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = forgotten => {
                    if forget() {
                        return;
                    }
                }
            }
            if self.lock().pending.is_empty() {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.full.notified() => {}
            }
            self.flush();
        }
    }

    /// Makes frames of what is pending: a topic's changes in the order in which they came last. The steps' changes go
    /// before their runs': who hears that a run has ended has heard of its steps.
    fn flush(&self) {
        let (pending, life) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.pending), state.at)
        };
        let mut topics: [Vec<(u64, Arc<str>)>; Topic::ALL.len()] = Default::default();
        for ((topic, _), change) in pending {
            topics[topic as usize].push(change);
        }
        let mut number = life.number;
        let mut made = Vec::new();
        for topic in Topic::ALL.into_iter().rev() {
            let changes = &mut topics[topic as usize];
            changes.sort_unstable_by_key(|(order, _)| *order);
            for part in changes.chunks(FRAME_CHANGES) {
                number += 1;
                let each: Vec<Arc<str>> = part.iter().map(|(_, change)| change.clone()).collect();
                let text = event::changes(topic, Position { number, ..life }, &each);
                made.push(Frame { number, topic, text, made_at: Instant::now() });
            }
        }
        if made.is_empty() {
            return;
        }
        let mut state = self.lock();
        // Begun anew meanwhile, by somebody who knows that these are not all.
        if state.at == life {
            made.into_iter().for_each(|frame| state.keep(frame));
            drop(state);
            self.moved.send_replace(());
        }
    }
}

impl State {
    fn keep(&mut self, frame: Frame) {
        self.at.number = frame.number;
        self.bytes += frame.text.len();
        let now = frame.made_at;
        self.frames.push_back(frame);
        while self.frames.len() > 1 {
            let oldest = &self.frames[0];
            let is_old = oldest.made_at + LINGER < now;
            if !(is_old || self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES) {
                return;
            }
            self.bytes -= oldest.text.len();
            self.frames.pop_front();
        }
    }

    /// Whether a client that stands there misses nothing of these topics.
    fn leads_on_from(&self, at: Position, topics: Topics) -> bool {
        let kept = (self.at.number - self.frames.len() as u64)..=self.at.number;
        at.life == self.at.life
            && kept.contains(&at.number)
            && topics.iter().all(|topic| self.since[topic as usize] <= at.number)
    }

    fn begin_anew(&mut self) {
        self.at = Position { life: rand::random(), number: 0 };
        self.pending.clear();
        self.frames.clear();
        self.bytes = 0;
        // Whoever was let in asks on for what it asked for.
        self.since.iter_mut().filter(|since| **since != u64::MAX).for_each(|since| *since = 0);
    }

    fn forgotten_at(&self) -> Option<Instant> {
        self.idle_since.map(|since| since + LINGER)
    }
}
