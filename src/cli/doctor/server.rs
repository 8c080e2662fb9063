//! What only a running server can say: that it is ready, that its clock agrees, and whether the key opens it.

use chrono::{DateTime, Utc};

use super::Finding;
use crate::cli::client::{Client, Probe};
use crate::cli::outcome::{Exit, Failure};

/// User tokens and signatures of webhooks go by the clock. The header has whole seconds, and the way takes time too.
const TOLERANCE_SECONDS: i64 = 10;

/// Whether the server answers, and is ready.
pub fn reached(client: &Client, probe: Result<Probe, Failure>) -> Finding {
    let server = client.server();
    match probe {
        Err(failure) => Finding::wrong(failure.message, failure.hint.unwrap_or_default()),
        Ok(probe) if is_paused(&probe) => Finding::wrong(
            format!("the installation at {server} is paused"),
            "`core314 store resume` shows what would go on, and lets it",
        ),
        Ok(probe) if probe.body["ready"].is_null() => Finding::wrong(
            format!("what answers at {server} is no Core314 server"),
            "name the right one with --server or CORE314_SERVER",
        ),
        Ok(probe) => match part(&probe, "actors") {
            Some(lack) => Finding::wrong(format!("{server} is not ready: {lack}"), "read its log"),
            None => Finding::well(format!("{server} answers")),
        },
    }
}

/// Whether the server waits for a person before it does anything.
fn is_paused(probe: &Probe) -> bool {
    !probe.is_success && probe.body["code"] == "paused"
}

/// The store as the server sees it. A server that answers has applied every migration it knows.
pub fn store(probe: &Probe) -> Finding {
    match part(probe, "store") {
        Some(lack) => Finding::wrong(lack, "check the database and the way to it; the server's log says more"),
        None if probe.is_success => Finding::well("reachable, migrations applied, as the server sees it"),
        None => Finding::Skipped("the server does not say".to_owned()),
    }
}

/// Whether the server has found a run that breaks a promise.
pub fn promises(probe: &Probe) -> Finding {
    match part(probe, "promises") {
        Some(broken) => Finding::wrong(
            broken,
            "this is a defect: `core314 run why RUN` and the entry's words belong into the report of it",
        ),
        None if probe.body["ready"].is_null() => Finding::Skipped("the server does not say".to_owned()),
        None => Finding::well("every run that waits names what it waits for"),
    }
}

/// What a part of the server lacks.
fn part(probe: &Probe, name: &str) -> Option<String> {
    let mut parts = probe.body["parts"].as_array().into_iter().flatten();
    let part = parts.find(|part| part["name"] == name && part["ready"] == false)?;
    Some(part["detail"].as_str().unwrap_or("it is not ready").to_owned())
}

/// Whether the two clocks agree, if this machine's own can be right.
pub fn clock(probe: &Probe, own: Finding) -> Finding {
    clock_at(Utc::now(), probe.date.as_deref(), own)
}

fn clock_at(now: DateTime<Utc>, date: Option<&str>, own: Finding) -> Finding {
    let Finding::Well(time) = own else {
        return own;
    };
    // The format of HTTP dates (RFC 9110, 5.6.7) is one of those of mail.
    let Some(server) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else {
        return Finding::well(time);
    };
    let ahead = (now - server.to_utc()).num_seconds();
    if ahead.abs() <= TOLERANCE_SECONDS {
        return Finding::well(format!("{time}, and the server agrees"));
    }
    let word = if ahead > 0 { "ahead of" } else { "behind" };
    let problem = format!("this machine is {} s {word} the server", ahead.abs());
    Finding::wrong(problem, "keep both clocks with NTP")
}

/// Whether the key is one of the server's.
pub async fn key(client: &Client) -> Finding {
    match client.list(&["flows"], &[], 1).await {
        Ok(_) => Finding::well("the server knows it"),
        Err(failure) if failure.exit == Exit::NotAllowed && !client.has_key() => {
            Finding::wrong("there is none", "give one with --key or CORE314_KEY; `core314 token create` makes one")
        }
        Err(failure) => Finding::wrong(failure.message, failure.hint.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn probe(body: Value) -> Probe {
        Probe { is_success: body["ready"] == true, date: None, body }
    }

    #[test]
    fn a_part_that_is_not_ready_is_named() {
        let well = probe(json!({"ready": true, "parts": [{"name": "store", "ready": true, "detail": null}]}));
        assert!(matches!(store(&well), Finding::Well(_)));
        let ill = probe(json!({"ready": false, "parts": [{"name": "store", "ready": false, "detail": "no answer"}]}));
        assert!(matches!(store(&ill), Finding::Wrong { problem, .. } if problem == "no answer"));
    }

    #[test]
    fn a_server_that_waits_for_a_person_is_no_stranger() {
        assert!(is_paused(&probe(json!({"code": "paused", "status": 503}))));
        assert!(!is_paused(&probe(json!({"code": "busy", "status": 503}))));
    }

    #[test]
    fn a_broken_promise_is_told_of_a_server_that_is_ready() {
        let part = |ready: bool| json!({"name": "promises", "ready": ready, "detail": "1 run waits for nothing"});
        let kept = probe(json!({"ready": true, "parts": [part(true)]}));
        assert!(matches!(promises(&kept), Finding::Well(_)));
        let broken = probe(json!({"ready": true, "parts": [part(false)]}));
        assert!(matches!(promises(&broken), Finding::Wrong { problem, .. } if problem == "1 run waits for nothing"));
    }

    #[test]
    fn clocks_are_compared() {
        let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
        let at = |date: &str| clock_at(now, Some(date), Finding::well("now"));
        assert_eq!(at("Fri, 20 Nov 2026 11:59:55 GMT"), Finding::well("now, and the server agrees"));
        let Finding::Wrong { problem, .. } = at("Fri, 20 Nov 2026 12:02:00 GMT") else { panic!("two minutes") };
        assert_eq!(problem, "this machine is 120 s behind the server");
        assert_eq!(at("yesterday"), Finding::well("now"));
    }
}
