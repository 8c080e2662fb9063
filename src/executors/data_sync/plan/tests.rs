use serde_json::json;

use super::*;

fn settings() -> SyncSettings {
    SyncSettings {
        folders: vec![],
        tenants: vec![],
        allow_all_tenants: false,
        batch_rows: 5_000,
        batch_bytes: 1_000_000,
        max_row_bytes: 10_000,
        max_syncs_per_tenant: 10,
    }
}

fn tables() -> End {
    let named = json!({"tables": {"orders": ["id", "total", "at"]}, "queries": {"recent": "SELECT 1 AS id"}});
    End::Tables(named.as_object().expect("an object").clone())
}

fn problems(ends: &Ends, payload: &Value) -> Vec<String> {
    let found = read(payload, Reading::Document, ends, &settings()).err().unwrap_or_default();
    found.into_iter().map(|it| format!("{}: {}", it.pointer, it.message)).collect()
}

#[test]
fn a_payload_says_from_where_and_to_where() {
    let ends = Ends { source: tables(), destination: tables() };
    let source = json!({"from": "shop", "table": "orders", "order": ["at", "id"]});
    let destination = json!({"table": "orders", "key": ["id"]});
    let payload = json!({"name": "orders", "source": source, "destination": destination, "incremental": true});
    assert_eq!(problems(&ends, &payload), [] as [String; 0]);
    for (changed, expected) in [
        (
            json!({"source": {"from": "shop", "table": "secrets", "order": ["id"]}}),
            "/source/table: 'secrets' is no table that is named for flows: orders",
        ),
        (
            json!({"source": {"from": "shop", "query": "all", "order": ["id"]}}),
            "/source/query: 'all' is no query that is named for flows: recent",
        ),
        (
            json!({"source": {"from": "shop", "table": "orders"}}),
            "/source/order: is required: a list of columns that tells each row from all others",
        ),
        (
            json!({"source": {"from": "shop", "table": "orders", "order": ["pin"]}}),
            "/source/order: 'pin' is no column that is named for flows",
        ),
        (
            json!({"source": {"from": "shop", "table": "orders", "query": "recent", "order": ["id"]}}),
            "/source/query: only one of http, table, query, file can be given",
        ),
        (json!({"source": {}}), "/source: needs one of: http, table, query, file"),
        (
            json!({"source": {"file": "a.csv"}}),
            "/source/file: needs a folder that executors.sync.folders of this server's configuration names",
        ),
        (json!({"destination": {"table": "orders", "key": []}}), "/destination/key: must not be empty"),
        (
            json!({"destination": {"table": "orders", "key": ["pin"]}}),
            "/destination/key: 'pin' is no column that is named for flows",
        ),
        (json!({"batch_rows": 0}), "/batch_rows: must be a whole number from 1 to 5000"),
        (json!({"name": " "}), "/name: must not be empty"),
        (json!({"columns": {"id": 1}}), "/columns/id: must name a field of the source, is a number"),
        (
            json!({"colums": {}}),
            "/colums: unknown key 'colums'; known: name, source, destination, columns, incremental, batch_rows, max_failed",
        ),
    ] {
        let mut payload = json!({"name": "orders", "source": source, "destination": destination});
        payload.as_object_mut().expect("an object").extend(changed.as_object().expect("an object").clone());
        assert_eq!(problems(&ends, &payload), [expected]);
    }
}

#[test]
fn a_service_is_asked_as_api_call_asks_it() {
    let ends = Ends { source: End::Open, destination: End::Folder };
    let payload = json!({"name": "users", "destination": {"file": "users.jsonl"},
        "source": {"http": {"url": "https://h/users", "paging": {"by": "page"}}, "cursor": {"field": "/at", "parameter": "since"}}});
    let plan = read(&payload, Reading::Rendered, &ends, &settings()).expect("sound").expect("a plan");
    let From::Pages { paging: Some(paging), cursor: Some(cursor), .. } = plan.source else { panic!("pages") };
    assert_eq!((paging.max_pages, cursor.parameter.as_str()), (u64::MAX, "since"));
    let mut csv = payload.clone();
    csv["destination"]["file"] = "users.csv".into();
    assert_eq!(problems(&ends, &csv), ["/columns: is required: JSON does not say which of its members become columns"]);
    let mut file = payload.clone();
    file["source"] = json!({"http": {"url": "https://h/a.csv"}, "format": "csv"});
    file["incremental"] = true.into();
    let expected = "/incremental: needs a table or query with `order`, or `http` with `cursor`, as its source";
    assert_eq!(problems(&ends, &file), [expected]);
    let mut cut = payload.clone();
    cut["source"]["http"]["paging"]["max_pages"] = 2.into();
    let expected = "/source/http/paging/max_pages: ends a sync before its last page, and what is new behind it would never be read: \
        leave it out beside cursor";
    assert_eq!(problems(&ends, &cut), [expected]);
    cut["source"].as_object_mut().expect("an object").remove("cursor");
    assert_eq!(problems(&ends, &cut), [""; 0]);
    let mut wrong = payload;
    wrong["source"]["http"]["url"] = "ftp://h".into();
    assert_eq!(problems(&ends, &wrong), ["/source/http/url: scheme 'ftp' is not one of: http, https"]);
}
