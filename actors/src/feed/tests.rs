//! The feed as its users see it, in simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use core314_domain::ids::TenantId;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::hub::{GATHER, LINGER};
use super::*;

const MANY: Limits = Limits { clients: 100, clients_per_tenant: 100 };

fn feed() -> Feed {
    Feed::new(tokio::runtime::Handle::current())
}

fn tenant(n: u128) -> Scope {
    Scope::Tenant(TenantId(Uuid::from_u128(n)))
}

fn topics(words: &str) -> Topics {
    words.parse().expect("known topics")
}

fn listen(feed: &Feed, scope: Scope, words: &str, last: Option<&str>) -> Subscription {
    feed.subscribe(scope, topics(words), last, MANY).expect("let in")
}

/// A block of an event stream, taken apart.
#[derive(Debug, PartialEq)]
struct Block {
    event: String,
    id: String,
    data: Value,
}

impl Block {
    /// The `n` of every change.
    fn numbers(&self) -> Vec<u64> {
        let changes = self.data["changes"].as_array().expect("changes");
        changes.iter().map(|change| change["n"].as_u64().expect("a number")).collect()
    }
}

async fn next(subscription: &mut Subscription) -> Block {
    let text = subscription.next().await.expect("the stream goes on");
    let text = std::str::from_utf8(&text).expect("text");
    assert!(text.ends_with("\n\n"), "{text:?}");
    let fields: BTreeMap<&str, &str> = text.trim_end().lines().filter_map(|line| line.split_once(": ")).collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    Block {
        event: field("event").to_owned(),
        id: field("id").to_owned(),
        data: serde_json::from_str(field("data")).unwrap_or_default(),
    }
}

/// What a subscription begins with: its position and nothing else.
async fn begun(subscription: &mut Subscription) -> String {
    let opening = next(subscription).await;
    assert_eq!(opening.event, "", "no reset");
    opening.id
}

fn tell(feed: &Feed, scope: Scope, topic: Topic, id: u64, n: u64) {
    feed.publish(scope, topic, id, || json!({"id": id, "n": n}));
}

/// Lets simulated time pass.
async fn pass(time: Duration) {
    let nothing = std::future::pending::<()>();
    tokio::time::timeout(time, nothing).await.expect_err("nothing comes");
}

/// Whether nothing comes for a while.
async fn is_quiet(subscription: &mut Subscription) -> bool {
    tokio::time::timeout(GATHER * 3, subscription.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn changes_of_one_thing_become_the_last_within_a_tenth_of_a_second() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    begun(&mut client).await;
    let started = Instant::now();
    for (id, n) in [(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)] {
        tell(&feed, tenant(1), Topic::Runs, id, n);
    }
    let frame = next(&mut client).await;
    assert_eq!((frame.event.as_str(), frame.numbers()), ("runs", vec![3, 4, 5]), "in the order of the last words");
    assert!(started.elapsed() <= GATHER + Duration::from_millis(2), "{:?}", started.elapsed());
    assert!(is_quiet(&mut client).await);
    tell(&feed, tenant(1), Topic::Runs, 1, 6);
    assert_eq!(next(&mut client).await.numbers(), [6], "a later change is a frame of its own");
}

#[tokio::test(start_paused = true)]
async fn many_changes_do_not_wait_and_stay_in_order() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    begun(&mut client).await;
    let started = Instant::now();
    (0..1_200).for_each(|n| tell(&feed, tenant(1), Topic::Runs, n, n));
    let mut seen = Vec::new();
    while seen.len() < 1_200 {
        let frame = next(&mut client).await;
        assert!(frame.numbers().len() <= 500);
        seen.extend(frame.numbers());
    }
    assert_eq!(seen, (0..1_200).collect::<Vec<_>>());
    assert!(started.elapsed() < GATHER, "a full frame does not wait");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_hears_its_own_changes_and_the_platform_everybodys() {
    let feed = feed();
    let (mut one, mut two) = (listen(&feed, tenant(1), "runs", None), listen(&feed, tenant(2), "runs", None));
    let mut platform = listen(&feed, Scope::Platform, "runs,actors", None);
    for client in [&mut one, &mut two, &mut platform] {
        begun(client).await;
    }
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    tell(&feed, tenant(2), Topic::Runs, 2, 2);
    tell(&feed, Scope::Platform, Topic::Actors, 3, 3);
    assert_eq!(next(&mut one).await.numbers(), [1]);
    assert_eq!(next(&mut two).await.numbers(), [2]);
    let frames = [next(&mut platform).await, next(&mut platform).await];
    let heard: Vec<_> = frames.iter().map(|frame| (frame.event.as_str(), frame.numbers())).collect();
    assert_eq!(heard, [("actors", vec![3]), ("runs", vec![1, 2])]);
    for client in [&mut one, &mut two, &mut platform] {
        assert!(is_quiet(client).await);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_asked_for_comes_and_nothing_else_is_made() {
    let feed = feed();
    assert!(!feed.listens(tenant(1), Topic::Runs));
    let mut client = listen(&feed, tenant(1), "executions", None);
    begun(&mut client).await;
    assert!(feed.listens(tenant(1), Topic::Executions));
    assert!(!feed.listens(tenant(1), Topic::Runs) && !feed.listens(tenant(2), Topic::Executions));
    feed.publish(tenant(1), Topic::Runs, 1, || -> Value { panic!("nobody listens") });
    let mut other = listen(&feed, tenant(1), "runs", None);
    begun(&mut other).await;
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    assert_eq!(next(&mut other).await.numbers(), [1]);
    assert!(is_quiet(&mut client).await);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_misses_nothing_and_hears_nothing_twice() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    let start = begun(&mut client).await;
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    let first = next(&mut client).await;
    drop(client);
    for n in 2..5 {
        tell(&feed, tenant(1), Topic::Runs, n, n);
        pass(GATHER * 2).await;
    }
    let mut again = listen(&feed, tenant(1), "runs", Some(&first.id));
    assert_eq!(begun(&mut again).await, first.id);
    for n in 2..5 {
        assert_eq!(next(&mut again).await.numbers(), [n]);
    }
    let mut from_start = listen(&feed, tenant(1), "runs", Some(&start));
    assert_eq!(begun(&mut from_start).await, start);
    assert_eq!(next(&mut from_start).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_carries_the_place_past_frames_of_other_topics() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    let mut other = listen(&feed, tenant(1), "executions", None);
    begun(&mut client).await;
    begun(&mut other).await;
    tell(&feed, tenant(1), Topic::Executions, 1, 1);
    let frame = next(&mut other).await;
    assert!(is_quiet(&mut client).await);
    let heartbeat = client.heartbeat();
    let heartbeat = std::str::from_utf8(&heartbeat).expect("text");
    assert_eq!(heartbeat, format!(": alive\nid: {}\n\n", frame.id));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_leads_nowhere_is_a_reset() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    let place = begun(&mut client).await;
    let (life, _) = place.split_once('-').expect("two parts");
    let ahead = format!("{life}-1");
    for (words, last) in [("runs", "x"), ("runs", "0000000000000001-0"), ("runs", &ahead), ("runs", "")] {
        let mut lost = listen(&feed, tenant(1), words, Some(last));
        let first = next(&mut lost).await;
        assert_eq!((first.event.as_str(), first.id.as_str()), ("reset", place.as_str()), "{last}");
    }
    // Another tenant's place is as good as none, and says nothing.
    let mut foreign = listen(&feed, tenant(2), "runs", Some(&place));
    assert_eq!(next(&mut foreign).await.event, "reset");
    // Nor was the topic recorded when the client was there.
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    next(&mut client).await;
    let mut wider = listen(&feed, tenant(1), "runs,executions", Some(&place));
    assert_eq!(next(&mut wider).await.event, "reset");
    // A restarted server has other lives.
    let mut after_restart = listen(&super::tests::feed(), tenant(1), "runs", Some(&place));
    assert_eq!(next(&mut after_restart).await.event, "reset");
}

#[tokio::test(start_paused = true)]
async fn when_something_may_have_been_missed_all_start_anew() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    let place = begun(&mut client).await;
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    feed.begin_anew();
    let reset = next(&mut client).await;
    assert_eq!(reset.event, "reset");
    assert_ne!(reset.id.split_once('-'), place.split_once('-'));
    tell(&feed, tenant(1), Topic::Runs, 1, 2);
    assert_eq!(next(&mut client).await.numbers(), [2]);
    let mut again = listen(&feed, tenant(1), "runs", Some(&reset.id));
    begun(&mut again).await;
    assert_eq!(next(&mut again).await.numbers(), [2], "the new life's places are good");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_too_slowly_is_ended_and_the_others_go_on() {
    let feed = feed();
    let mut slow = listen(&feed, tenant(1), "runs", None);
    let mut quick = listen(&feed, tenant(1), "runs", None);
    begun(&mut slow).await;
    begun(&mut quick).await;
    let filler = "x".repeat(4_000);
    let mut heard = 0;
    // More than the hub keeps: the bytes of 300 frames of 4 kB.
    for n in 0..300_u64 {
        feed.publish(tenant(1), Topic::Runs, n, || json!({"id": n, "n": n, "filler": filler}));
        assert_eq!(next(&mut quick).await.numbers(), [n]);
        heard += 1;
    }
    assert_eq!(slow.next().await, None);
    assert_eq!((heard, feed.dropped(), feed.clients()), (300, 1, 2));
    drop(slow);
    assert_eq!(feed.clients(), 1);
}

#[tokio::test]
async fn a_flood_that_is_not_taken_away_is_bounded_and_leads_to_a_reset() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    begun(&mut client).await;
    // The hub's task runs on this thread and has no turn meanwhile.
    (0..20_001).for_each(|n| tell(&feed, tenant(1), Topic::Runs, n, n));
    assert_eq!(next(&mut client).await.event, "reset");
}

#[tokio::test(start_paused = true)]
async fn a_hub_lives_a_minute_longer_than_its_last_client() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    let place = begun(&mut client).await;
    pass(LINGER * 3).await;
    drop(client);
    pass(LINGER / 2).await;
    assert!(feed.listens(tenant(1), Topic::Runs));
    let mut client = listen(&feed, tenant(1), "runs", Some(&place));
    begun(&mut client).await;
    pass(LINGER).await;
    assert!(feed.listens(tenant(1), Topic::Runs), "somebody is there again");
    drop(client);
    pass(LINGER + Duration::from_secs(1)).await;
    assert!(!feed.listens(tenant(1), Topic::Runs));
    assert_eq!((feed.0.hubs.len(), feed.0.listening.load(Ordering::Relaxed)), (0, 0));
    let mut late = listen(&feed, tenant(1), "runs", Some(&place));
    assert_eq!(next(&mut late).await.event, "reset");
}

#[tokio::test(start_paused = true)]
async fn the_numbers_of_clients_are_bounded() {
    let feed = feed();
    let limits = Limits { clients: 3, clients_per_tenant: 2 };
    let enter = |n| feed.subscribe(tenant(n), topics("runs"), None, limits);
    let (one, _two) = (enter(1).expect("let in"), enter(1).expect("let in"));
    assert_eq!(enter(1).err(), Some(Refused::TenantFull));
    let _three = enter(2).expect("let in");
    assert_eq!(enter(3).err(), Some(Refused::Full));
    drop(one);
    assert!(enter(1).is_ok());
    assert_eq!(feed.clients(), 2);
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_pending_and_ends_every_stream() {
    let feed = feed();
    let mut client = listen(&feed, tenant(1), "runs", None);
    begun(&mut client).await;
    tell(&feed, tenant(1), Topic::Runs, 1, 1);
    feed.close();
    assert_eq!(next(&mut client).await.numbers(), [1]);
    assert_eq!(client.next().await, None);
    assert_eq!(feed.subscribe(tenant(1), topics("runs"), None, MANY).err(), Some(Refused::Closed));
}
