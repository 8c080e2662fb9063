//! What `core314 serve` refuses: each unsafe setting by its name, all at once, before anything is made; and that `core314 doctor`
//! finds the same.
//!
//! No store is needed. Every case has a secret that is too short as well, so that the server stops also where a setting lifts
//! what the case is about.

use std::process::Command;

use super::support::{Installation, SECRET_KEY, StoreKind, USER};

const SHORT: &[(&str, &str)] = &[("CORE314_SERVICE_KEY", "too-short")];
const FAR: &str = "postgres://core314:hunter2@db.example/core314?sslmode=require";

/// What is unsafe, the key that is named, why, and what lifts or mends it.
struct Case {
    environment: &'static [(&'static str, &'static str)],
    key: &'static str,
    why: &'static str,
    mend: &'static [(&'static str, &'static str)],
}

const CASES: [Case; 9] = [
    Case {
        environment: &[("CORE314__AUTH__JWKS_URL", "https://id.example/keys")],
        key: "auth.issuer",
        why: "keys alone do not say who made a token",
        mend: &[("CORE314__AUTH__ISSUER", "https://id.example")],
    },
    Case {
        environment: &[("CORE314__AUTH__ISSUER", "https://id.example")],
        key: "auth.audience",
        why: "for any other program would open this one",
        mend: &[("CORE314__AUTH__AUDIENCE", "core314")],
    },
    Case {
        environment: &[("CORE314_SECRET_KEY", SECRET_KEY), ("CORE314_SECRET_KEY_PREVIOUS", "short")],
        key: "secrets.previous_key",
        why: "has 5 characters, at least 32 are needed",
        mend: &[("CORE314_SECRET_KEY_PREVIOUS", "another-test-secret-key-0123456789-fedcba")],
    },
    Case {
        environment: &[("CORE314_SECRET_KEY", SECRET_KEY), ("CORE314_SECRET_KEY_PREVIOUS", SECRET_KEY)],
        key: "secrets.previous_key",
        why: "must differ from secrets.key",
        mend: &[("CORE314_SECRET_KEY_PREVIOUS", "")],
    },
    Case {
        environment: &[("CORE314__EXECUTORS__COMMANDS__PROGRAMS", "ops/true=/bin/true")],
        key: "executors.commands.tenants",
        why: "run the programs of executors.commands.programs with the rights of this server",
        mend: &[("CORE314__EXECUTORS__COMMANDS__TENANTS", USER)],
    },
    Case {
        environment: &[("CORE314__EXECUTORS__RECORDS__SQLITE", "stock=/var/lib/stock.db")],
        key: "executors.records.tenants",
        why: "the databases of executors.records.sqlite",
        mend: &[("CORE314__EXECUTORS__RECORDS__ALLOW_ALL_TENANTS", "true")],
    },
    Case {
        environment: &[("CORE314__EXECUTORS__SYNC__FOLDERS", "drop=/srv/drop")],
        key: "executors.sync.tenants",
        why: "put {tenant} into each path",
        mend: &[("CORE314__EXECUTORS__SYNC__ALLOW_ALL_TENANTS", "true")],
    },
    Case {
        environment: &[("CORE314_DATABASE_URL", FAR)],
        key: "store.database_url",
        why: "'db.example' is another machine, and with sslmode=require",
        mend: &[("CORE314_DATABASE_URL", "postgres://core314@db.example/core314?sslmode=verify-full")],
    },
    Case {
        environment: &[("CORE314_DATABASE_OWNER_URL", FAR)],
        key: "store.owner_url",
        why: "put sslmode=verify-full into the address",
        mend: &[("CORE314__STORE__ALLOW_INSECURE_CONNECTION", "true")],
    },
];

/// What a command says with these variables over the installation's.
fn said(installation: &Installation, words: &[&str], layers: &[&[(&str, &str)]]) -> (Option<i32>, String) {
    let mut command: Command = installation.command(words);
    for layer in layers {
        command.envs(layer.iter().copied());
    }
    let output = command.output().expect("the binary runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn unsafe_settings_are_refused_by_name_until_they_are_mended_or_allowed() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let serve = |layers: &[&[(&str, &str)]]| {
        let (code, text) = said(&installation, &["serve", "--listen", "127.0.0.1:0"], layers);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("auth.service_key (environment variable CORE314_SERVICE_KEY): has 9"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains(SECRET_KEY), "{text}");
        text
    };
    for Case { environment, key, why, mend } in CASES {
        let text = serve(&[SHORT, environment]);
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key} (")));
        assert!(line.is_some_and(|line| line.contains(why)), "{key}: {text}");
        let text = serve(&[SHORT, environment, mend]);
        assert!(!text.contains(&format!("{key} (")), "{key} is mended: {text}");
    }
    // One of them names the issuer.
    let told = |key: &&str| *key != "auth.issuer";
    let every: Vec<&[(&str, &str)]> = CASES.iter().map(|case| case.environment).chain([SHORT]).collect();
    let text = serve(&every);
    for key in CASES.iter().map(|case| case.key).filter(told) {
        assert!(text.contains(&format!("  {key} (")), "{key} is not told with the others: {text}");
    }
    assert!(!installation.data_dir().exists(), "nothing has been made");

    let (code, text) = said(&installation, &["config", "show", "auth"], &[SHORT]);
    assert!(code == Some(0) && text.contains("does not start with this, because of auth.service_key: "), "{text}");

    // The doctor looks for the store, and nobody answers for that one.
    let here: &[(&str, &str)] = &[("CORE314_DATABASE_URL", "")];
    let layers: Vec<&[(&str, &str)]> = every.into_iter().chain([here]).collect();
    let (code, text) = said(&installation, &["doctor", "--server", "http://127.0.0.1:1"], &layers);
    assert_eq!(code, Some(1), "{text}");
    for key in CASES.iter().map(|case| case.key).filter(told).filter(|key| *key != "store.database_url") {
        let is_told = |line: &str| line.starts_with("problem  ") && line.contains(&format!(": {key} ("));
        assert!(text.lines().any(is_told), "the doctor says nothing of {key}: {text}");
    }
    let user = text.lines().find(|line| line.get(9..).is_some_and(|line| line.starts_with("user: ")));
    let expected =
        if nix::unistd::geteuid().is_root() { "warning  user: the server runs as root" } else { "ok       user:" };
    assert!(user.is_some_and(|line| line.starts_with(expected)), "{text}");
}
