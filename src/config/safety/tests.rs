use super::*;
use crate::config::{ConfigError, Inputs, Setting};

const STRONG: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const THIRD: &str = "89abcdef0123456789abcdef01234567";

/// What is said of these settings beside a strong secret; nothing where they may be served. `core314 dev` takes them all.
fn refused(settings: &[(&str, &str)]) -> String {
    let given = [("auth.jwt_secret", STRONG)].into_iter().chain(settings.iter().copied());
    let flags = given.map(|(key, text)| Setting::new(key, text, "test")).collect();
    let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
    assert!(check(&config, Mode::Dev).is_empty(), "{settings:?}");
    let problems = check(&config, Mode::Serve);
    if problems.is_empty() { String::new() } else { ConfigError(problems).to_string() }
}

fn assert_said(said: &str, words: &[&str]) {
    for expected in words {
        assert!(said.contains(expected), "'{expected}' is missing in: {said}");
    }
}

#[test]
fn an_identity_provider_and_this_program_must_be_named() {
    let (issuer, audience) = (("auth.issuer", "https://id.example"), ("auth.audience", "core314"));
    for place in [("auth.jwks_url", "https://id.example/keys"), ("auth.jwks_file", "keys.json")] {
        assert_said(
            &refused(&[place]),
            &["auth.issuer (default): must be set where", "auth.audience (default): must be set where"],
        );
        let said = refused(&[place, issuer]);
        assert!(said.contains("auth.audience (") && !said.contains("auth.issuer ("), "{said}");
        let said = refused(&[place, audience]);
        assert!(said.contains("auth.issuer (") && !said.contains("auth.audience ("), "{said}");
        assert_eq!(refused(&[place, issuer, audience]), "");
    }
    assert_said(&refused(&[issuer]), &["auth.audience (default): must be set", "into `aud`"]);
    assert_eq!(refused(&[issuer, audience]), "");
    assert_eq!(refused(&[audience]), "", "the secret is this server's own");
}

#[test]
fn the_key_before_is_as_strong_as_one_and_another() {
    let with = |previous: &str| refused(&[("secrets.key", OTHER), ("secrets.previous_key", previous)]);
    assert_eq!(with(THIRD), "");
    assert_eq!(with(""), "");
    let weak =
        ["secrets.previous_key (test): has 31 characters, at least 32 are needed", "give the whole key of before"];
    assert_said(&with(&THIRD[1..]), &weak);
    assert_said(&with(&"ab".repeat(20)), &["secrets.previous_key (test): has only 2 different characters"]);
    assert_said(&with(OTHER), &["secrets.previous_key (test): must differ from secrets.key"]);
    assert_said(&with(STRONG), &["secrets.previous_key (test): must differ from auth.jwt_secret and auth.service_key"]);
    let said = refused(&[("auth.service_key", THIRD), ("secrets.key", OTHER), ("secrets.previous_key", THIRD)]);
    assert_said(&said, &["secrets.previous_key (test): must differ from auth.jwt_secret and auth.service_key"]);
}

#[test]
fn what_reaches_into_the_machine_is_for_tenants_that_are_named() {
    for (section, list, entry) in [
        ("executors.commands", "programs", "ops/restart=/sbin/{tenant}"),
        ("executors.records", "sqlite", "stock=/var/lib/{tenant}.db"),
        ("executors.sync", "folders", "{tenant}=/srv/drop"),
    ] {
        let keys = [list, "tenants", "allow_all_tenants"].map(|name| format!("{section}.{name}"));
        let [offer, tenants, allow] = keys.each_ref().map(String::as_str);
        let variable = format!("CORE314__{}=true", allow.to_uppercase().replace('.', "__"));
        let said = refused(&[(offer, entry)]);
        assert_said(&said, &[&format!("{tenants} (default): `*` lets"), offer, &format!("{allow} = true"), &variable]);
        let said = refused(&[(offer, entry), (tenants, "0190a000-0000-7000-8000-000000000007,*")]);
        assert_said(&said, &[&format!("{tenants} (test): `*` lets")]);
        assert_eq!(refused(&[(offer, entry), (tenants, "0190a000-0000-7000-8000-000000000007")]), "");
        assert_eq!(refused(&[(offer, entry), (tenants, "")]), "", "nobody");
        assert_eq!(refused(&[(offer, entry), (allow, "true")]), "", "somebody has said so");
    }
    assert_eq!(refused(&[]), "", "there is nothing to be used");
}

#[test]
fn folders_of_each_tenants_own_may_be_for_all() {
    let with = |folders: &str| refused(&[("executors.sync.folders", folders)]);
    assert_eq!(with("drop=/srv/{tenant}/drop,out=/srv/{tenant}/out"), "");
    assert_said(&with("drop=/srv/{tenant}/drop,all=/srv/all"), &["put {tenant} into each path"]);
}

#[test]
fn all_is_said_at_once_and_no_secret_is_shown() {
    let said = refused(&[
        ("auth.jwks_file", "keys.json"),
        ("auth.service_key", "hunter2"),
        ("secrets.key", STRONG),
        ("secrets.previous_key", "hunter3"),
        ("executors.commands.programs", "ops/x=/bin/x"),
    ]);
    let lines: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert!(!said.contains("hunter") && !said.contains(STRONG), "{said}");
}
