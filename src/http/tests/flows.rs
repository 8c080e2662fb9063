//! Flows: saved, changed, seen.

use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{STRANGER, Server, USER, admin, bearing, flow_document, platform, token};

#[actix_web::test]
async fn a_new_flow_has_an_address_and_a_version() {
    let server = Server::start().await;
    let answer = server.post("/api/v1/flows", &flow_document("orders")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let flow = answer.json();
    assert_eq!(answer.header("location"), format!("/api/v1/flows/{}", flow["id"].as_str().unwrap()));
    assert_eq!((answer.header("etag"), &flow["flow_version"]), ("\"v1\"", &json!(1)));
    assert_eq!(flow["user_id"], json!(USER));
    assert_eq!(flow["created_at"], "2025-06-15T15:06:40.000Z");
    let seen = server.get(answer.header("location")).await;
    assert_eq!((seen.status, seen.header("etag")), (StatusCode::OK, "\"v1\""));
}

#[actix_web::test]
async fn a_document_may_be_yaml_and_a_service_key_may_act_for_its_user() {
    let server = Server::start().await;
    let yaml = "flow_name: a\ntrigger_type: manual\nflow_steps:\n  - id: x\n    config: {action_type: scripted}\n";
    let request = |body: &str| {
        platform(Method::POST, "/api/v1/flows")
            .insert_header(("X-User-Id", USER.to_string()))
            .insert_header(("Content-Type", "application/yaml"))
            .set_payload(body.to_owned())
    };
    assert_eq!(server.send(request(yaml)).await.status, StatusCode::CREATED);
    let unknown = server.send(request(&yaml.replace("flow_steps", "flow_stepz"))).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unknown.text.contains("flow_stepz") && unknown.text.contains("line 3"), "{}", unknown.text);
}

#[actix_web::test]
async fn what_is_wrong_with_a_document_is_said_with_its_place() {
    let server = Server::start().await;
    let mut document = flow_document("orders");
    document["flow_steps"][1]["config"]["action_type"] = json!("teleport");
    let answer = server.post("/api/v1/flows", &document).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["code"], "invalid_flow");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/flow_steps/1/config/action_type");
    assert!(answer.json()["errors"][0]["message"].as_str().unwrap().contains("scripted"), "lists the known");
    let twice = r#"{"flow_name": "a", "flow_name": "b"}"#;
    let answer = server.send(admin(Method::POST, "/api/v1/flows").set_payload(twice)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("duplicate key 'flow_name' at line 1"), "{}", answer.text);
}

#[actix_web::test]
async fn what_is_wrong_with_an_expression_is_said_with_line_character_and_mark() {
    let server = Server::start().await;
    let yaml = "flow_name: a\ntrigger_type: manual\nconditions: trigger.score == 0.5 && 1 == 1\nflow_steps:\n  \
                - id: x\n    config: {action_type: scripted}\n";
    let send = |path: &'static str, text: String| {
        server.send(admin(Method::POST, path).insert_header(("Content-Type", "application/yaml")).set_payload(text))
    };
    let fine = send("/api/v1/flows/validate", yaml.to_owned()).await.json();
    assert_eq!((&fine["valid"], fine["warnings"].as_array().unwrap().len()), (&json!(true), 2), "{fine}");
    assert_eq!((&fine["warnings"][0]["line"], &fine["warnings"][0]["column"]), (&json!(3), &json!(13)));
    let wrong = yaml.replace("1 == 1", "tenant.idd == 'x'");
    let refused = send("/api/v1/flows/validate", wrong.clone()).await.json();
    let error = &refused["errors"][0];
    assert_eq!((&error["pointer"], &error["line"]), (&json!("/conditions"), &json!(3)), "{refused}");
    let marked = "trigger.score == 0.5 && tenant.idd == 'x'\n                               ^";
    assert_eq!(error["excerpt"], marked, "{refused}");
    assert!(error["message"].as_str().unwrap().contains("did you mean `id`?"), "{refused}");
    let saved = send("/api/v1/flows", wrong).await;
    assert_eq!((saved.status, &saved.json()["errors"][0]), (StatusCode::UNPROCESSABLE_ENTITY, error));
}

#[actix_web::test]
async fn flows_and_versions_that_are_not_there_are_warned_of() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    let nobody = "00000000-0000-7000-8000-000000000007";
    let sub = |id: &str, config: Value| json!({"id": id, "type": "sub_flow", "config": config});
    let mut document = flow_document("caller");
    document["trigger_type"] = json!("flow_finished");
    document["trigger_config"] = json!({"flow": "nightly"});
    document["flow_steps"] = json!([
        sub("a", json!({"flow_name": "orders", "version": 1})),
        sub("b", json!({"flow_name": "orders", "version": 99})),
        sub("c", json!({"flow_id": nobody})),
        sub("d", json!({"flow_name": "caller"})),
    ]);
    let checked = server.post("/api/v1/flows/validate", &document).await.json();
    let warnings = checked["warnings"].as_array().unwrap();
    let told: Vec<[&str; 2]> =
        warnings.iter().map(|found| ["pointer", "message"].map(|key| found[key].as_str().unwrap())).collect();
    let missing = format!("there is no flow '{nobody}' yet");
    assert_eq!(
        told,
        [
            ["/trigger_config/flow", "there is no flow 'nightly' yet"],
            ["/flow_steps/1/config/version", "flow 'orders' has no version 99 yet: its newest is 1"],
            ["/flow_steps/2/config/flow_id", missing.as_str()],
        ]
    );
}

#[actix_web::test]
async fn a_name_belongs_to_one_flow_of_a_tenant() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    let again = server.post("/api/v1/flows", &flow_document("orders")).await;
    assert_eq!((again.status, &again.json()["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
}

#[actix_web::test]
async fn a_patch_makes_a_version_only_where_it_changes_something() {
    let server = Server::start().await;
    let uri = format!("/api/v1/flows/{}", server.flow(&flow_document("orders")).await);
    let patch = async |etag: &str, body: &str| {
        let request = admin(Method::PATCH, &uri).insert_header(("If-Match", etag)).set_payload(body.to_owned());
        server.send(request).await
    };
    let changed = patch("\"v1\"", r#"{"tags": ["ops"], "flow_description": "x"}"#).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"v2\""), "{}", changed.text);
    assert_eq!(changed.json()["tags"], json!(["ops"]));
    assert_eq!(patch("\"v1\"", "{}").await.status, StatusCode::PRECONDITION_FAILED);
    let same = patch("*", r#"{"tags": ["ops"]}"#).await;
    assert_eq!((same.status, same.header("etag")), (StatusCode::OK, "\"v2\""));
    let removed = patch("\"v2\"", r#"{"trigger_type": null}"#).await;
    assert_eq!(removed.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", removed.text);
    assert_eq!(patch("\"v2\"", "[]").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn a_flow_of_somebody_else_is_as_if_it_were_not_there() {
    let server = Server::start().await;
    let uri = format!("/api/v1/flows/{}", server.flow(&flow_document("orders")).await);
    let stranger = token(STRANGER, None);
    for (method, uri) in [
        (Method::GET, uri.clone()),
        (Method::PATCH, uri.clone()),
        (Method::POST, format!("{uri}/trigger")),
        (Method::POST, "/api/v1/flows/orders/trigger".to_owned()),
    ] {
        let answer = server.send(bearing(&stranger, method.clone(), &uri).set_payload("{}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {uri}");
        assert_eq!(answer.json()["detail"], "there is no such flow");
    }
}
