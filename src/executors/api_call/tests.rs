use super::*;

fn problems(payload: &Value) -> Vec<String> {
    let problems = read(payload, Reading::Document, Address::InPayload, None).err().unwrap_or_default();
    problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
}

fn call(payload: &Value) -> Call {
    match read(payload, Reading::Rendered, Address::InPayload, None) {
        Ok(Some(asked)) => asked.call,
        other => panic!("{payload}: {other:?}"),
    }
}

#[test]
fn a_minimal_payload_is_a_get() {
    let call = call(&json!({"url": "https://example.com/a?b=1", "query": {"c": "x y", "d": [1, 2]}}));
    assert_eq!((call.method, call.url.as_str()), (Method::GET, "https://example.com/a?b=1&c=x+y&d=1&d=2"));
    assert_eq!((call.body, call.expected, call.headers.len()), (vec![], vec![Statuses::SUCCESS], 0));
}

#[test]
fn bodies_bring_their_content_type_unless_it_is_given() {
    let url = "https://example.com/";
    for (payload, body, content_type) in [
        (json!({"url": url, "json": {"b": [1], "a": "ä"}}), r#"{"a":"ä","b":[1]}"#, "application/json"),
        (json!({"url": url, "json": false}), "false", "application/json"),
        (
            json!({"url": url, "form": {"a": "x y&", "b": [1, true]}}),
            "a=x+y%26&b=1&b=true",
            "application/x-www-form-urlencoded",
        ),
        (json!({"url": url, "body": "hello"}), "hello", "text/plain; charset=utf-8"),
        (json!({"url": url, "body": "<a/>", "headers": {"content-type": "text/xml"}}), "<a/>", "text/xml"),
    ] {
        let call = call(&payload);
        assert_eq!(String::from_utf8(call.body).expect("utf-8"), body);
        assert_eq!(call.headers[CONTENT_TYPE], content_type);
    }
}

#[test]
fn expected_statuses_are_codes_and_classes() {
    let expected = |value: Value| call(&json!({"url": "http://h/", "expected_status": value})).expected;
    assert_eq!(expected(json!(204)), [Statuses::One(204)]);
    assert_eq!(expected(json!("3XX")), [Statuses::Class(3)]);
    assert_eq!(expected(json!(["2xx", 404, "410"])), [Statuses::SUCCESS, Statuses::One(404), Statuses::One(410)]);
    for wrong in [json!([]), json!([true]), json!("6xx"), json!(42), json!("2x"), json!(-1), json!([100])] {
        assert_eq!(problems(&json!({"url": "http://h/", "expected_status": wrong})).len(), 1, "{wrong}");
    }
}

#[test]
fn mistakes_are_found_in_the_document() {
    for (payload, expected) in [
        (json!({}), "/url: is required"),
        (json!([]), ": must be an object, is a list"),
        (
            json!({"ulr": "x", "url": "http://h/"}),
            "/ulr: unknown key 'ulr'; known: method, url, path, headers, query, json, form, multipart, body, expected_status, paging, extract",
        ),
        (json!({"url": "ftp://h/"}), "/url: scheme 'ftp' is not one of: http, https"),
        (json!({"url": "h/x"}), "/url: is no URL: relative URL without a base"),
        (json!({"url": "http://"}), "/url: is no URL: empty host"),
        (json!({"url": 1}), "/url: must be a text, is a number"),
        (json!({"url": "http://h/", "method": "GE T"}), "/method: 'GE T' is no HTTP method"),
        (json!({"url": "http://h/", "method": "connect"}), "/method: CONNECT opens a tunnel, which is no action"),
        (json!({"url": "http://h/", "headers": {"a b": "c"}}), "/headers/a b: is no name of a header"),
        (
            json!({"url": "http://h/", "headers": {"X-A": "b\r\nc"}}),
            "/headers/X-A: has a value that no header can have: a line break or another control character",
        ),
        (json!({"url": "http://h/", "headers": {"Host": "x"}}), "/headers/Host: is set by the connection itself"),
        (
            json!({"url": "http://h/", "json": 1, "body": "x"}),
            "/body: only one of json, form, multipart, body can be given",
        ),
        (json!({"url": "http://h/", "body": {"a": 1}}), "/body: must be a text, is an object"),
    ] {
        assert_eq!(problems(&payload), [expected], "{payload}");
    }
}

#[test]
fn a_path_needs_an_integration_and_stays_in_it() {
    let path = json!({"path": "/users", "query": {"a": 1}});
    let refused = problems(&path);
    assert!(refused[0].starts_with("/path: needs an integration"), "{refused:?}");
    assert!(read(&path, Reading::Document, Address::Elsewhere, None).is_ok_and(|asked| asked.is_none()));
    let address = Address::At("https://api.example/v1");
    let call = read(&path, Reading::Rendered, address, None).expect("sound").expect("a call").call;
    assert_eq!(call.url.as_str(), "https://api.example/v1/users?a=1");
    for payload in [json!({"url": "https://evil.example/"}), json!({"path": "../x"}), json!({"path": "a", "url": "b"})]
    {
        assert!(read(&payload, Reading::Rendered, address, None).is_err(), "{payload}");
    }
}

#[test]
fn templates_can_become_anything() {
    let open = json!({
        "method": "{{ trigger.method }}", "url": "https://{{ trigger.host }}/", "headers": {"X-A": "{{ a }}"},
        "query": "{{ trigger.query }}", "form": "{% if a %}b{% endif %}", "expected_status": ["{{ a }}", 200],
    });
    assert_eq!(problems(&open), Vec::<String>::new());
    let rendered =
        read(&open, Reading::Rendered, Address::InPayload, None).expect_err("as text it is wrong in every member");
    let pointers: Vec<&str> = rendered.iter().map(|p| p.pointer.as_str()).collect();
    assert_eq!(pointers, ["/method", "/url", "/query", "/form", "/expected_status"]);
}
