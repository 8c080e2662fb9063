//! Identifiers. Keys are UUIDv7, for locality in the store and never as an ordering guarantee.
//!
//! An execution's id is computed, not stored: a run's id keeps its lowest 20 bits zero, and the id of its step number
//! `n` is the run's id plus `n + 1`. So static steps have their ids from the accept on, and an execution's id leads to
//! its run without a table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id from the time and 74 random bits of the caller.
            pub fn new(now_ms: i64, random: u128) -> Self {
                Self(uuid_v7(now_ms, random))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

id! {
    /// The wall between owners: the organization where a row has one, else the user.
    TenantId;
    /// A person, or whoever a service key acts for.
    UserId;
    /// A group of users that share a tenant.
    OrganizationId;
    /// A flow, across its versions.
    FlowId;
    /// A webhook endpoint.
    WebhookId;
    /// A row of the execution log.
    LogId;
    /// A notification in a user's inbox.
    NotificationId;
    /// Any other row.
    RowId;
}

/// A flow run. Its lowest 20 bits are zero, so that its executions' ids can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RunId(pub Uuid);

/// A step of a run: its place in the plan, from 0.
pub type StepNo = u32;

/// An execution: one entry of the queue, that is one step of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ExecutionId(pub Uuid);

/// How many low bits of an execution's id number its step.
const STEP_BITS: u32 = 20;
const STEP_MASK: u128 = (1 << STEP_BITS) - 1;
/// The largest number of executions that one run can have.
pub const MAX_STEPS: u32 = STEP_MASK as u32;

impl RunId {
    /// A fresh id from the time and random bits of the caller.
    pub fn new(now_ms: i64, random: u128) -> Self {
        Self(Uuid::from_u128(uuid_v7(now_ms, random).as_u128() & !STEP_MASK))
    }

    /// The id of this run's execution of a step.
    pub fn execution(self, step: StepNo) -> ExecutionId {
        assert!(step < MAX_STEPS, "a run has at most {MAX_STEPS} executions");
        ExecutionId(Uuid::from_u128(self.0.as_u128() | (u128::from(step) + 1)))
    }

    /// The greatest id that one of its executions can have: between the run's own and this one there are no others' ids.
    pub fn last_id(self) -> Uuid {
        Uuid::from_u128(self.0.as_u128() | STEP_MASK)
    }
}

impl ExecutionId {
    /// The run and the step that this id stands for; `None` when it cannot be an execution's.
    pub fn parts(self) -> Option<(RunId, StepNo)> {
        let number = (self.0.as_u128() & STEP_MASK) as u32;
        let run = RunId(Uuid::from_u128(self.0.as_u128() & !STEP_MASK));
        number.checked_sub(1).map(|step| (run, step))
    }
}

macro_rules! display_and_parse {
    ($($name:ident)*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}
display_and_parse!(RunId ExecutionId);

/// Who owns a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    pub tenant: TenantId,
    pub user: UserId,
    pub organization: Option<OrganizationId>,
}

impl Owner {
    /// The owner of rows of this user: in the organization, or in the user's private tenant.
    pub fn new(user: UserId, organization: Option<OrganizationId>) -> Self {
        let tenant = TenantId(organization.map_or(user.0, |o| o.0));
        Self { tenant, user, organization }
    }

    /// The platform itself: host, store, actors and nodes belong to it.
    pub const fn platform() -> Self {
        Self { tenant: TenantId(Uuid::nil()), user: UserId(Uuid::nil()), organization: None }
    }
}

/// RFC 9562, version 7: 48 bits of milliseconds, then 74 random bits around version and variant.
fn uuid_v7(now_ms: i64, random: u128) -> Uuid {
    let ms = (now_ms.max(0) as u128) & 0xffff_ffff_ffff;
    let rand_a = (random >> 62) & 0xfff;
    let rand_b = random & ((1 << 62) - 1);
    Uuid::from_u128(ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)
}

/// The milliseconds in a version 7 id.
pub fn uuid_ms(id: Uuid) -> i64 {
    (id.as_u128() >> 80) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_run_and_its_executions_are_a_range() {
        let run = RunId::new(1_700_000_000_123, 7 << STEP_BITS);
        let other = RunId::new(1_700_000_000_123, 8 << STEP_BITS);
        assert!(run.0 < run.execution(0).0 && run.execution(MAX_STEPS - 1).0 <= run.last_id());
        assert!(run.last_id() < other.0);
    }

    #[test]
    fn an_execution_leads_to_its_run() {
        let run = RunId::new(1_700_000_000_123, u128::MAX);
        for step in [0, 1, 999, MAX_STEPS - 1] {
            assert_eq!(run.execution(step).parts(), Some((run, step)));
        }
        assert_eq!(ExecutionId(run.0).parts(), None);
    }

    #[test]
    fn ids_are_version_7_and_carry_their_time() {
        let id = FlowId::new(1_700_000_000_123, 0x1234_5678_9abc_def0_1234).0;
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(uuid_ms(id), 1_700_000_000_123);
    }
}
