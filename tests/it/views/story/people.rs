//! The people of the story: what their organization is called, how they are reached, and how they want to be told.

use core314_domain::ids::Owner;
use serde_json::json;

use super::{Story, T0};

impl Story {
    pub(super) fn people(&mut self, owner: Owner) {
        let times = || [("created_at_ms", T0.into()), ("updated_at_ms", (T0 + 9).into())];
        let (_, head) = self.owned(owner);
        let mut columns = vec![("name", "Ünïon".into()), ("version", 1.into())];
        columns.extend(times());
        self.put("firms", head, columns);
        let (_, head) = self.owned(owner);
        let mut columns = vec![
            ("email", "ada@example.com".into()),
            ("name", "Ada".into()),
            ("role", "admin".into()),
            ("version", 2.into()),
        ];
        columns.extend(times());
        self.put("members", head, columns);
        for is_verified in [false, true] {
            let (_, head) = self.owned(owner);
            let (kind, address) = if is_verified { ("email", "ada@example.com") } else { ("sms", "+12025550123") };
            let mut columns = vec![
                ("kind", kind.into()),
                ("address", address.into()),
                ("integration", is_verified.then_some("mail").into()),
                ("verified_at_ms", is_verified.then_some(T0).into()),
                ("code_no", i64::from(is_verified).into()),
                ("code_sent_at_ms", is_verified.then_some(T0).into()),
                ("code_tries", 0.into()),
                ("version", 1.into()),
            ];
            columns.extend(times());
            self.put("contacts", head, columns);
        }
        let (_, head) = self.owned(owner);
        let document = json!({"time_zone": "Europe/Berlin", "rules": [{"types": [], "severities": ["high"], "send": "now",
            "by": ["sms"]}], "quiet_hours": [{"days": [], "hours": "22:00-07:00"}], "goes_through": "critical",
            "digest": ["08:00"]});
        let mut columns = vec![("document", document.into()), ("version", 1.into())];
        columns.extend(times());
        self.put("habits", head, columns);
    }
}
