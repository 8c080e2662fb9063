//! How the slots of a partition are shared between tenants, and what bounds their actions.

use std::collections::BTreeMap;

use core314_domain::ids::TenantId;
use core314_domain::limits::Rate;
use serde::Deserialize;

/// The heaviest tenant gets this many turns for one of a tenant without a weight.
const MOST: u32 = 1_000;
/// More actions than this at once, or in a second, are as good as without a limit.
const MOST_ACTIONS: u32 = 1_000_000;

/// How many entries of each tenant start in its turn. A tenant that is not named has the weight 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TenantWeights(BTreeMap<TenantId, u32>);

impl TenantWeights {
    /// How many entries of a tenant start in its turn.
    pub fn of(&self, tenant: TenantId) -> u32 {
        self.0.get(&tenant).copied().unwrap_or(1)
    }
}

impl TryFrom<Vec<String>> for TenantWeights {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let read = |text: &String| {
            let (tenant, weight) = text.split_once('=')?;
            let weight = weight.trim().parse().ok().filter(|weight| (1..=MOST).contains(weight))?;
            Some((tenant.trim().parse().ok()?, weight))
        };
        let wrong = |text: &String| format!("'{text}' must be TENANT=WEIGHT, a tenant's id and 1 to {MOST}");
        texts.iter().map(|text| read(text).ok_or_else(|| wrong(text))).collect::<Result<_, _>>().map(Self)
    }
}

/// What bounds the actions of a tenant, or of all together. 0: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionLimit {
    /// Under way at once.
    pub concurrent: u32,
    /// Started in a second; after a pause as many start at once.
    pub per_second: u32,
}

impl ActionLimit {
    const fn is_none(self) -> bool {
        self.concurrent == 0 && self.per_second == 0
    }

    /// The rate as buckets know it.
    pub fn rate(self) -> Option<Rate> {
        let per_second = i64::from(self.per_second);
        // Rounded up, so that the rate is never exceeded.
        (per_second > 0).then(|| Rate { interval_us: (999_999 + per_second) / per_second, burst: self.per_second })
    }
}

/// What bounds actions on one node. 0: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionLimits {
    /// Of all tenants together.
    pub overall_concurrent: u32,
    pub overall_per_second: u32,
    /// Of each tenant that is not named below.
    pub per_tenant_concurrent: u32,
    pub per_tenant_per_second: u32,
    pub tenants: TenantLimits,
}

impl ActionLimits {
    /// What bounds all tenants together.
    pub const fn overall(&self) -> ActionLimit {
        ActionLimit { concurrent: self.overall_concurrent, per_second: self.overall_per_second }
    }

    /// What bounds a tenant.
    pub fn of(&self, tenant: TenantId) -> ActionLimit {
        let each = ActionLimit { concurrent: self.per_tenant_concurrent, per_second: self.per_tenant_per_second };
        self.tenants.0.get(&tenant).copied().unwrap_or(each)
    }

    /// Whether anything bounds the actions of a tenant.
    pub fn bind(&self, tenant: TenantId) -> bool {
        !(self.overall().is_none() && self.of(tenant).is_none())
    }
}

/// Tenants with limits of their own, in the place of those of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TenantLimits(BTreeMap<TenantId, ActionLimit>);

impl TryFrom<Vec<String>> for TenantLimits {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number <= MOST_ACTIONS);
        let read = |text: &String| {
            let (tenant, limit) = text.split_once('=')?;
            let (concurrent, per_second) = limit.split_once('/')?;
            let limit = ActionLimit { concurrent: number(concurrent)?, per_second: number(per_second)? };
            Some((tenant.trim().parse().ok()?, limit))
        };
        let wrong = |text: &String| {
            format!("'{text}' must be TENANT=CONCURRENT/PER_SECOND, a tenant's id and two numbers, 0 to {MOST_ACTIONS}")
        };
        texts.iter().map(|text| read(text).ok_or_else(|| wrong(text))).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_tenants_own_limits_stand_in_for_those_of_each() {
        let (named, other) = (TenantId(Uuid::from_u128(5)), TenantId(Uuid::from_u128(6)));
        let tenants = TenantLimits::try_from(vec![format!("{named} = 7/ 0")]).unwrap();
        let limits = ActionLimits { per_tenant_per_second: 3, tenants, ..ActionLimits::default() };
        assert_eq!(limits.of(named), ActionLimit { concurrent: 7, per_second: 0 });
        assert_eq!(limits.of(other), ActionLimit { concurrent: 0, per_second: 3 });
        assert_eq!(limits.of(other).rate(), Some(Rate { interval_us: 333_334, burst: 3 }), "never exceeded");
        assert!(limits.bind(named) && limits.bind(other) && !ActionLimits::default().bind(named));
    }

    #[test]
    fn a_weight_is_a_tenant_and_a_number() {
        let tenant = TenantId(Uuid::from_u128(5));
        let weights = TenantWeights::try_from(vec![format!("{tenant} = 7")]).unwrap();
        assert_eq!((weights.of(tenant), weights.of(TenantId(Uuid::from_u128(6)))), (7, 1));
        for wrong in ["x=1/1", "7", &format!("{tenant}=1"), &format!("{tenant}=1/1000001"), &format!("{tenant}=-1/1")] {
            let refused = TenantLimits::try_from(vec![wrong.to_owned()]).unwrap_err();
            assert!(refused.contains("TENANT=CONCURRENT/PER_SECOND"), "{wrong}");
        }
        for wrong in ["x=1", "7", &format!("{tenant}=0"), &format!("{tenant}=1001")] {
            assert!(TenantWeights::try_from(vec![wrong.to_owned()]).unwrap_err().contains("TENANT=WEIGHT"), "{wrong}");
        }
    }
}
