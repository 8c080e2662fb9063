//! What an event wants done: one task for each thing, with a key that says which, so that it is done once.

use serde::{Deserialize, Serialize};

use super::LevelAction;
use super::document::{ActionDocument, ChannelDocument};
use crate::ids::RowId;
use crate::words::words;

words! {
    /// What a task is for.
    Purpose {
        Level = "level", Repeat = "repeat", FixFirst = "fix_first", Remediation = "remediation",
        SlaWarning = "sla_warning", SlaBreach = "sla_breach", FollowUp = "follow_up",
        HeldBack = "held_back",
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub purpose: Purpose,
    /// 0 where it belongs to none.
    pub level: u32,
    /// From 0; the nth repetition.
    pub round: u32,
    /// Its place among those of the same purpose, level and round.
    pub place: u32,
    pub what: What,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// Tell these by this channel; without recipients whoever reads the channel.
    Notify {
        channel: ChannelDocument,
        recipients: Vec<String>,
        is_page: bool,
    },
    Act {
        action: ActionDocument,
    },
}

impl Task {
    /// Its name: the same however often it is decided.
    pub fn key(&self, event: RowId) -> String {
        format!("{event}/{}/{}/{}/{}", self.purpose, self.level, self.round, self.place)
    }

    /// Whether it is a message that also says how many failures the rule has held back since the last one.
    pub fn bundles(&self) -> bool {
        let is_notice = matches!(self.what, What::Notify { .. });
        is_notice && matches!(self.purpose, Purpose::Level | Purpose::Repeat | Purpose::HeldBack)
    }

    /// Whether its success shows that what had failed is mended.
    pub fn mends(&self) -> bool {
        match (self.purpose, &self.what) {
            (Purpose::Remediation | Purpose::FixFirst, What::Act { action }) => {
                !LevelAction::names_message(&action.action)
            }
            (Purpose::Level, What::Act { action }) => LevelAction::names_remedy(&action.action),
            _ => false,
        }
    }
}
