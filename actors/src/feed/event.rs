//! The text of events, as the event stream format of the HTML standard has it ("Server-sent events", WHATWG), and the
//! positions that name a place in a hub's sequence of frames.
//!
//! Every block that is sent carries an `id`, so that a client that loses its connection has a position from the first
//! moment on. A block without data changes the client's position and is no event.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use super::topic::Topic;

/// After a lost connection the client comes back after so many milliseconds.
const RETRY_MS: u32 = 2_000;

/// A place in the frames of a hub: after the one with this number. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which life of which hub numbered the frame; random, so that no other life has the same.
    pub life: u64,
    pub number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.life, self.number)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (life, number) = text.split_once('-').ok_or(())?;
        let life = u64::from_str_radix(life, 16).map_err(drop)?;
        Ok(Self { life, number: number.parse().map_err(drop)? })
    }
}

/// What a stream begins with: how soon to come back, and where it stands.
pub fn opening(at: Position) -> Arc<[u8]> {
    bytes(format!("retry: {RETRY_MS}\nid: {at}\n\n"))
}

/// Tells the client that it may have missed something: it reads anew what it shows.
pub fn reset(at: Position) -> Arc<[u8]> {
    bytes(format!("retry: {RETRY_MS}\nevent: reset\nid: {at}\ndata: {{}}\n\n"))
}

/// Says that the connection lives, and where the stream stands.
pub fn heartbeat(at: Position) -> Arc<[u8]> {
    bytes(format!(": alive\nid: {at}\n\n"))
}

/// Changes of one topic, each a JSON text without line breaks.
pub fn changes(topic: Topic, at: Position, each: &[Arc<str>]) -> Arc<[u8]> {
    let length: usize = each.iter().map(|change| change.len() + 1).sum();
    let mut text = String::with_capacity(length + 100);
    write!(text, "event: {topic}\nid: {at}\ndata: {{\"changes\":[").expect("a String takes whatever is written");
    for (n, change) in each.iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(change);
    }
    text.push_str("]}\n\n");
    bytes(text)
}

fn bytes(text: String) -> Arc<[u8]> {
    text.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_nothing_else_does() {
        let at = Position { life: 0xa1, number: 7 };
        assert_eq!(at.to_string().parse(), Ok(at));
        for bad in ["", "-", "7", "00a1-", "-7", "xyz-7", "00a1-x", "00a1-99999999999999999999999"] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn an_event_is_one_block_with_its_topic_its_position_and_its_changes() {
        let at = Position { life: 0xa1, number: 7 };
        let text = changes(Topic::Runs, at, &[r#"{"id":"x"}"#.into(), r#"{"id":"y"}"#.into()]);
        let expected = "event: runs\nid: 00000000000000a1-7\ndata: {\"changes\":[{\"id\":\"x\"},{\"id\":\"y\"}]}\n\n";
        assert_eq!(std::str::from_utf8(&text), Ok(expected));
        assert!(std::str::from_utf8(&reset(at)).expect("text").contains("event: reset\n"));
    }
}
