//! Keys of messages that killed their actor. Bounded: only the keys that killed most recently are remembered.

use std::collections::VecDeque;

/// Keys remembered per actor. The list is searched linearly, and is empty in an actor that never died.
const CAPACITY: usize = 64;

#[derive(Debug)]
struct Death {
    key: String,
    count: u32,
    failure: String,
    /// The actor has not been told yet that the key was set aside.
    news: bool,
}

#[derive(Debug, Default)]
pub(super) struct Poison {
    /// Most recent last.
    deaths: VecDeque<Death>,
}

impl Poison {
    /// Counts a death by `key`; at `limit` the key is set aside.
    pub(super) fn died(&mut self, key: String, failure: String, limit: u32) {
        let earlier = self.deaths.iter().position(|death| death.key == key).and_then(|at| self.deaths.remove(at));
        let count = earlier.map_or(0, |death| death.count).saturating_add(1);
        if self.deaths.len() == CAPACITY {
            self.deaths.pop_front();
        }
        self.deaths.push_back(Death { key, count, failure, news: count == limit.max(1) });
    }

    /// How the key killed last, if it was set aside.
    pub(super) fn verdict(&self, key: &str, limit: u32) -> Option<&str> {
        self.deaths
            .iter()
            .find(|death| death.key == key && death.count >= limit.max(1))
            .map(|death| death.failure.as_str())
    }

    /// A key set aside that the actor has not been told of, with how it killed.
    pub(super) fn take_news(&mut self) -> Option<(String, String)> {
        let death = self.deaths.iter_mut().find(|death| death.news)?;
        death.news = false;
        Some((death.key.clone(), death.failure.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_aside_at_the_limit_and_told_once() {
        let mut poison = Poison::default();
        for death in 1..=3 {
            assert_eq!(poison.verdict("k", 3), None);
            poison.died("k".into(), format!("death {death}"), 3);
        }
        assert_eq!(poison.verdict("k", 3), Some("death 3"));
        assert_eq!(poison.verdict("other", 3), None);
        assert_eq!(poison.take_news(), Some(("k".into(), "death 3".into())));
        assert_eq!(poison.take_news(), None);
    }

    #[test]
    fn only_recent_keys_are_remembered() {
        let mut poison = Poison::default();
        for key in 0..CAPACITY {
            poison.died(key.to_string(), String::new(), 1);
        }
        poison.died("0".into(), String::new(), 1);
        poison.died("new".into(), String::new(), 1);
        assert_eq!(poison.deaths.len(), CAPACITY);
        assert!(poison.verdict("0", 1).is_some(), "0 had killed again since");
        assert!(poison.verdict("1", 1).is_none(), "1 is the oldest");
        assert!(poison.verdict("new", 1).is_some());
    }
}
