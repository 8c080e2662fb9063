//! How the slots of a partition are shared between tenants.

use std::collections::BTreeMap;

use core314_domain::ids::TenantId;
use serde::Deserialize;

/// The heaviest tenant gets this many turns for one of a tenant without a weight.
const MOST: u32 = 1_000;

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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_weight_is_a_tenant_and_a_number() {
        let tenant = TenantId(Uuid::from_u128(5));
        let weights = TenantWeights::try_from(vec![format!("{tenant} = 7")]).unwrap();
        assert_eq!((weights.of(tenant), weights.of(TenantId(Uuid::from_u128(6)))), (7, 1));
        for wrong in ["x=1", "7", &format!("{tenant}=0"), &format!("{tenant}=1001")] {
            assert!(TenantWeights::try_from(vec![wrong.to_owned()]).unwrap_err().contains("TENANT=WEIGHT"), "{wrong}");
        }
    }
}
