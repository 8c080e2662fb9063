//! Which tenants may use what the server's configuration offers.

use core314_domain::ids::TenantId;

/// The name that stands for all.
const EVERYBODY: &str = "*";

/// Tenants by their ids, or all.
#[derive(Debug, Default)]
pub struct Tenants {
    ids: Vec<TenantId>,
    is_for_all: bool,
}

impl Tenants {
    /// Those of a list; the entry that is neither an id nor `*` is the error.
    pub fn new(list: &[String]) -> Result<Self, String> {
        let ids = list.iter().filter(|entry| *entry != EVERYBODY).map(|entry| entry.parse().map_err(|_| entry.clone()));
        let ids = ids.collect::<Result<_, _>>()?;
        Ok(Self { ids, is_for_all: list.iter().any(|entry| entry == EVERYBODY) })
    }

    /// Whether this tenant is one of them.
    pub fn has(&self, tenant: TenantId) -> bool {
        self.is_for_all || self.ids.contains(&tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_named() {
        let id = "0190a000-0000-7000-8000-000000000007";
        let tenant: TenantId = id.parse().expect("an id");
        for (list, expected) in
            [(&[][..], false), (&["*"], true), (&[id], true), (&["0190a000-0000-7000-8000-000000000008"], false)]
        {
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(Tenants::new(&list).expect("good").has(tenant), expected, "{list:?}");
        }
        assert_eq!(Tenants::new(&["everybody".to_owned()]).expect_err("no id"), "everybody");
    }
}
