//! Three servers over one PostgreSQL, the working one of which is killed, stopped or ended again and again under load.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use nix::sys::signal::Signal;

use super::{Site, saved, trigger};
use crate::sink::Sink;
use crate::support::{Server, long, seed};

const SERVERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_becomes_of_the_working_server_nothing_is_lost_or_doubled() {
    let mut random = StdRng::seed_from_u64(seed());
    let rounds = if long() { 60 } else { 4 };
    let (site, sink) = (Site::new(SERVERS).await, Sink::start());
    let mut servers: Vec<Server> = (0..SERVERS).map(|at| site.start(at)).collect();
    let hook = saved(&servers[0], &sink).await;
    let (mut working, mut sent) = (0, 0);
    for round in 0..rounds {
        let count = random.random_range(5..30);
        trigger(&servers[working], &hook, sent..sent + count).await;
        sent += count;
        // Each of the three comes at least once.
        let what = if round < 3 { round } else { random.random_range(0..3) };
        match what {
            0 => servers[working].kill(),
            1 => servers[working].signal(Signal::SIGSTOP),
            _ => assert_eq!(servers[working].terminate(), Some(0), "{}", site.logs()),
        }
        let next = site.another_is_ready(&servers, working).await;
        if what == 1 {
            servers[working].signal(Signal::SIGCONT);
            assert_eq!(servers[working].wait(), Some(75), "{}", site.logs());
        }
        servers[working] = site.start(working);
        working = next;
    }
    site.all_is_done_once(&servers[working], sent as usize).await;
}
