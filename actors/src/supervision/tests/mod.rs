//! The tree at work on actix, under a clock that stands still unless everybody waits for it.

mod chaos;
mod lives;
mod loss;
mod model;
mod policy;
mod strategies;

use std::{
    future::Future,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use actix_rt::System;
use tokio::sync::oneshot;

use super::*;

/// What happened, in order, by all actors of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        lock(&self.0).push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// An actor that does what it is told, and writes down what happens to it.
struct Probe {
    name: String,
    log: Log,
    sum: u32,
}

#[derive(Clone)]
struct ProbeArgs {
    name: String,
    log: Log,
    /// At each start, ring after this time.
    alarm: Option<Duration>,
    /// Panic in the first so many starts.
    bad_starts: Arc<Mutex<u32>>,
}

impl ProbeArgs {
    fn new(name: &str, log: &Log) -> Self {
        Self { name: name.to_owned(), log: log.clone(), alarm: None, bad_starts: Arc::default() }
    }
}

enum Say {
    Add(u32),
    Sum(oneshot::Sender<u32>),
    Panic(Option<oneshot::Sender<u32>>),
    Fail,
    Stop,
    RingAfter(Duration),
    Ring,
    Keyed {
        key: &'static str,
        deadly: bool,
    },
    StopChild(u64),
    Spawn(&'static str, oneshot::Sender<Result<Ref<Probe>, StartError>>),
    /// Says that it has begun, then blocks its thread until the other end is dropped.
    Block(mpsc::Sender<()>, mpsc::Receiver<()>),
    /// Blocks likewise, then tells the other actor.
    BlockThenTell(mpsc::Sender<()>, mpsc::Receiver<()>, Ref<Probe>, mpsc::Sender<Result<(), TellError>>),
}

impl Behaviour for Probe {
    const KIND: &'static str = "probe";
    type Msg = Say;
    type Args = (ProbeArgs,);

    fn start((args,): &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        let mut bad_starts = lock(&args.bad_starts);
        if *bad_starts > 0 {
            *bad_starts -= 1;
            drop(bad_starts);
            panic!("bad start");
        }
        args.log.add(format!("start {}", args.name));
        if let Some(alarm) = args.alarm {
            ctx.after(alarm, Say::Ring);
        }
        Self { name: args.name.clone(), log: args.log.clone(), sum: 0 }
    }

    fn handle(&mut self, msg: Say, ctx: &mut Ctx<'_, Self>) {
        match msg {
            Say::Add(n) => self.sum += n,
            Say::Sum(reply) => reply.send(self.sum).expect("the test waits"),
            Say::Panic(_reply) => panic!("told to"),
            Say::Fail => ctx.fail("told to"),
            Say::Stop => ctx.stop(),
            Say::RingAfter(delay) => {
                ctx.after(delay, Say::Ring);
            }
            Say::Ring => self.log.add(format!("ring {}", self.name)),
            Say::Keyed { deadly: true, .. } => panic!("poison"),
            Say::Keyed { key, .. } => self.log.add(format!("key {key}")),
            Say::Spawn(name, reply) => {
                let args = ProbeArgs::new(name, &self.log);
                let child = ctx.spawn_child::<Probe>(&ChildSpec::new(name), (args,));
                assert!(reply.send(child).is_ok(), "the test waits");
            }
            Say::StopChild(id) => assert!(ctx.stop_child(id)),
            Say::Block(begun, until) => {
                begun.send(()).expect("the test waits");
                assert!(until.recv().is_err(), "nothing is ever sent");
            }
            Say::BlockThenTell(begun, until, other, result) => {
                begun.send(()).expect("the test waits");
                assert!(until.recv().is_err(), "nothing is ever sent");
                result.send(other.tell(Say::Add(1000))).expect("the test waits");
            }
        }
    }

    fn poison_key(msg: &Say) -> Option<String> {
        match msg {
            Say::Keyed { key, .. } => Some((*key).to_owned()),
            _ => None,
        }
    }

    fn poisoned(&mut self, key: &str, failure: &str, _ctx: &mut Ctx<'_, Self>) {
        self.log.add(format!("poisoned {key}: {failure}"));
    }

    fn child_exited(&mut self, child: ChildExit, _ctx: &mut Ctx<'_, Self>) {
        self.log.add(format!("{} lost {}: {}", self.name, child.path, child.reason));
    }

    fn shutdown(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.log.add(format!("asked {}", self.name));
        if self.name != "stubborn" {
            ctx.stop();
        }
    }

    fn stopping(&mut self, _ctx: &mut Ctx<'_, Self>) {
        self.log.add(format!("stop {}", self.name));
    }

    fn state(&self) -> &'static str {
        if self.sum == 0 { "empty" } else { "filled" }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.log.add(format!("drop {}", self.name));
    }
}

fn paused_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
}

/// Runs a test on one thread with a paused clock.
fn paused<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    System::with_tokio_rt(|| paused_runtime().expect("a runtime can be built")).block_on(async { test().await });
}

/// Lets the clock run on; everything due by then happens. No time passes in reality.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A patient supervisor that restarts at once.
fn quick(strategy: Strategy) -> SupervisorSpec {
    SupervisorSpec::new(strategy).intensity(1000, SECOND).backoff(Duration::ZERO, Duration::ZERO)
}

fn tree(spec: SupervisorSpec, hooks: Hooks) -> Tree {
    Tree::start("root", spec, ArbiterPool::current(), hooks).expect("the tree is empty")
}

fn probe(to: &SupervisorRef, spec: ChildSpec, log: &Log) -> Ref<Probe> {
    let args = ProbeArgs::new(&spec.name, log);
    to.start_child::<Probe>(spec, (args,)).expect("the path is free")
}

async fn sum(of: &Ref<Probe>) -> Option<u32> {
    let (reply, answer) = oneshot::channel();
    of.tell(Say::Sum(reply)).ok()?;
    answer.await.ok()
}

/// Only the lines that begin with one of these words.
fn only(lines: Vec<String>, words: &[&str]) -> Vec<String> {
    lines.into_iter().filter(|line| words.contains(&line.split(' ').next().unwrap_or(""))).collect()
}
