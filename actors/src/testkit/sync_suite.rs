//! What every keeper of positions must do: the conformance suite of [`SyncPositions`].

use core314_domain::ids::{RunId, TenantId};
use serde_json::json;
use uuid::Uuid;

use crate::ports::sync::{Saved, SyncPosition, SyncPositions};

const MINE: TenantId = TenantId(Uuid::from_u128(0xa));
const THEIRS: TenantId = TenantId(Uuid::from_u128(0xb));

fn position(version: i64) -> SyncPosition {
    let cursor = (version > 1).then(|| json!(["2030-01-31", version]));
    let execution = RunId::new(1_700_000_000_000, 1 << 40).execution(0);
    SyncPosition { version, execution, cursor, state: json!({"it's": "\"quoted\""}), at_ms: 7 + version }
}

/// A position is replaced by the one after it and by no other, and is read as it was kept.
pub async fn a_position_moves_by_its_version(positions: &dyn SyncPositions) {
    assert_eq!(positions.load(MINE, "a").await.expect("reads"), None);
    assert_eq!(positions.save(MINE, "a", &position(2), 10).await.expect("answers"), Saved::Moved);
    for version in 1..=3 {
        assert_eq!(positions.save(MINE, "a", &position(version), 10).await.expect("answers"), Saved::Kept);
        assert_eq!(positions.load(MINE, "a").await.expect("reads"), Some(position(version)));
    }
    for version in [1, 2, 3, 5] {
        assert_eq!(
            positions.save(MINE, "a", &position(version), 10).await.expect("answers"),
            Saved::Moved,
            "{version}"
        );
    }
    assert_eq!(positions.load(MINE, "a").await.expect("reads"), Some(position(3)));
    assert!(positions.forget(MINE, "a").await.expect("answers"));
    assert!(!positions.forget(MINE, "a").await.expect("answers"));
    assert_eq!(positions.save(MINE, "a", &position(4), 10).await.expect("answers"), Saved::Moved, "it was forgotten");
    assert_eq!(positions.save(MINE, "a", &position(1), 10).await.expect("answers"), Saved::Kept);
}

/// Names are a tenant's own; of one tenant there are no more than may be, and each can still be moved.
pub async fn a_tenant_has_its_own_and_not_too_many(positions: &dyn SyncPositions) {
    for name in ["b", "a", "it's"] {
        assert_eq!(positions.save(MINE, name, &position(1), 3).await.expect("answers"), Saved::Kept);
    }
    assert_eq!(positions.save(MINE, "d", &position(1), 3).await.expect("answers"), Saved::LimitReached);
    assert_eq!(positions.save(MINE, "a", &position(2), 3).await.expect("answers"), Saved::Kept);
    assert_eq!(positions.save(THEIRS, "a", &position(1), 3).await.expect("answers"), Saved::Kept);
    assert!(!positions.forget(THEIRS, "b").await.expect("answers"), "it is somebody else's");
    let names = async |tenant, after, limit| {
        let found = positions.list(tenant, after, limit).await.expect("reads");
        found.into_iter().map(|(name, position)| (name, position.version)).collect::<Vec<_>>()
    };
    let of = |name: &str, version| (name.to_owned(), version);
    assert_eq!(names(MINE, None, 2).await, [of("a", 2), of("b", 1)]);
    assert_eq!(names(MINE, Some("b"), 2).await, [of("it's", 1)]);
    assert_eq!(names(THEIRS, None, 9).await, [of("a", 1)]);
}
