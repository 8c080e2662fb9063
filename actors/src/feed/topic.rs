//! What changes are sorted by, and sets of such topics.

use std::fmt;
use std::str::FromStr;

use core314_domain::words::UnknownWord;

/// A sort of change. The words are part of the API and never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Topic {
    Runs,
    Executions,
    Health,
    Anomalies,
    Recovery,
    Selftests,
    Escalations,
    Notifications,
    /// Restarts of actors; the platform's alone.
    Actors,
}

impl Topic {
    /// Every topic, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Runs,
        Self::Executions,
        Self::Health,
        Self::Anomalies,
        Self::Recovery,
        Self::Selftests,
        Self::Escalations,
        Self::Notifications,
        Self::Actors,
    ];

    /// The word in queries and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Executions => "executions",
            Self::Health => "health",
            Self::Anomalies => "anomalies",
            Self::Recovery => "recovery",
            Self::Selftests => "selftests",
            Self::Escalations => "escalations",
            Self::Notifications => "notifications",
            Self::Actors => "actors",
        }
    }
}

impl FromStr for Topic {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == word).ok_or_else(|| UnknownWord {
            word: word.chars().take(60).collect(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topics(u16);

impl Topics {
    /// Every topic.
    pub const ALL: Self = Self((1 << Topic::ALL.len()) - 1);

    /// Whether the topic is in it.
    pub const fn contains(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u8) != 0
    }

    /// With this topic.
    #[must_use]
    pub const fn with(self, topic: Topic) -> Self {
        Self(self.0 | 1 << topic as u8)
    }

    /// Without this topic.
    #[must_use]
    pub const fn without(self, topic: Topic) -> Self {
        Self(self.0 & !(1 << topic as u8))
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.contains(*topic))
    }

    /// One bit a topic, to be kept in an atomic number.
    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    /// What [`Topics::bits`] gave.
    pub(super) const fn of_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// `runs,executions`.
impl FromStr for Topics {
    type Err = UnknownWord;

    fn from_str(list: &str) -> Result<Self, UnknownWord> {
        list.split(',').try_fold(Self::default(), |topics, word| Ok(topics.with(word.trim().parse()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_topics_reads_back_and_an_unknown_one_names_the_known() {
        let topics: Topics = "runs, executions".parse().expect("known");
        assert_eq!(topics.iter().collect::<Vec<_>>(), [Topic::Runs, Topic::Executions]);
        assert_eq!(Topics::ALL.iter().count(), Topic::ALL.len());
        assert!(!Topics::ALL.without(Topic::Actors).contains(Topic::Actors));
        assert_eq!(Topics::of_bits(topics.bits()), topics);
        for bad in ["", "runs,", "run", "RUNS"] {
            let error = bad.parse::<Topics>().expect_err(bad).to_string();
            assert!(error.contains("is not one of: runs, executions, health"), "{error}");
        }
    }
}
