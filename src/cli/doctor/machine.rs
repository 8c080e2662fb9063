//! What can be checked without a server: configuration, secrets, user, data directory, clock.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::app::{self, FilesError};
use crate::config::local::{self, DevFile};
use crate::config::{Config, ConfigError, Mode, Problem, rights};

/// With less, a busy hour may fill the disk, and a full disk stops every commit.
const ENOUGH_BYTES: u128 = 1 << 30;
/// This release was made after it (2026-01-01): a clock before it is wrong.
const EARLIEST_MS: i64 = 1_767_225_600_000;
/// And nobody runs it after this (2100-01-01).
const LATEST_MS: i64 = 4_102_444_800_000;
/// The keys that hold secrets of the server itself.
const SECRETS: [&str; 4] = ["auth.jwt_secret", "auth.service_key", "secrets.key", "secrets.previous_key"];
/// Words of examples and of haste; a random secret has none of them.
const EXAMPLES: [&str; 6] = ["change", "default", "example", "password", "secret", "123456"];

/// Whether what is in force can be served: a finding for each thing that cannot. Secrets have a check of their own.
pub fn configuration(config: &Config) -> Vec<Finding> {
    let mut found: Vec<Finding> = mistakes(config).iter().filter(|problem| !is_secret(problem)).map(told).collect();
    found.extend(config.notes().iter().map(|note| Finding::wrong(note, "correct it, so that it says what is meant")));
    if found.is_empty() {
        let changed = config.shown().iter().filter(|shown| shown.source != "default").count();
        let what = format!("keys that differ from the defaults: {changed} (`core314 config show --changed`)");
        found.push(Finding::well(what));
    }
    found
}

/// Whether secrets are set, long enough, and not somebody's example: a finding for each that is not.
pub fn secrets(config: &Config) -> Vec<Finding> {
    if is_development(config) {
        return vec![development(&config.data_dir(), &dev_file(config))];
    }
    let mut found: Vec<Finding> = mistakes(config).iter().filter(|problem| is_secret(problem)).map(told).collect();
    for key in SECRETS {
        let secret = config.secret(key).unwrap_or_default().to_lowercase();
        if EXAMPLES.iter().any(|word| secret.contains(word)) {
            let example =
                Finding::wrong(format!("{key} looks like an example"), "make one with `openssl rand -hex 32`");
            found.push(example);
        }
    }
    if found.is_empty() {
        found.push(Finding::well("set, long enough, and no known example"));
    }
    found
}

/// As whom the server runs: whose the socket is that it has made; where there is none, who asks would be it.
pub fn user(data_dir: &Path) -> Finding {
    let socket = fs::symlink_metadata(local::socket_path(data_dir));
    user_who(socket.map_or_else(|_| rights::is_root(), |metadata| metadata.uid() == 0))
}

fn user_who(is_root: bool) -> Finding {
    if is_root { Finding::doubtful(rights::AS_ROOT, rights::MEND) } else { Finding::well("not root") }
}

/// The secrets that `core314 dev` has made.
fn development(data_dir: &Path, dev_file: &Path) -> Finding {
    if let Err(error) = DevFile::read(data_dir) {
        return Finding::wrong(error, "delete it, and start `core314 dev` again");
    }
    match fs::metadata(dev_file).map(|metadata| metadata.permissions().mode() & 0o077) {
        Ok(0) => Finding::well(format!("made by `core314 dev`, in {}", dev_file.display())),
        Ok(_) => Finding::wrong(
            format!("{} can be read by other users of this machine", dev_file.display()),
            format!("chmod 600 {}", dev_file.display()),
        ),
        Err(error) => Finding::wrong(format!("{}: {error}", dev_file.display()), "make it readable for yourself"),
    }
}

/// The files that the configuration names and that cannot be used now: a finding for each. A server that answers has read them
/// while they were well, and goes on with what they held.
pub fn files(config: &Config, is_answered: bool) -> Vec<Finding> {
    let unusable = unusable(config);
    let found = unusable.iter().map(|problem| {
        let what = format!("{} ({}): {}", problem.key, problem.source, problem.message);
        if is_answered {
            Finding::doubtful(
                what,
                "put it right before the next start; until then the server goes on with what it had",
            )
        } else {
            Finding::wrong(what, "put it right, and start the server again")
        }
    });
    found.collect()
}

/// Why a server would not start.
pub fn refused(config: &Config) -> Vec<Problem> {
    let mut problems = mistakes(config);
    problems.extend(unusable(config));
    problems
}

fn unusable(config: &Config) -> Vec<Problem> {
    app::check_files(config).err().map_or_else(Vec::new, |FilesError(problems)| problems)
}

/// What the server would refuse: `core314 dev` where its credentials are and no others, else `core314 serve`.
fn mistakes(config: &Config) -> Vec<Problem> {
    let mode = if is_development(config) { Mode::Dev } else { Mode::Serve };
    app::check_safety(config, mode).err().map_or_else(Vec::new, |ConfigError(problems)| problems)
}

fn is_development(config: &Config) -> bool {
    let for_production = ["auth.jwt_secret", "auth.jwks_url", "auth.jwks_file"];
    for_production.iter().all(|key| config.text(key).is_empty()) && dev_file(config).exists()
}

fn dev_file(config: &Config) -> PathBuf {
    config.data_dir().join("dev.json")
}

fn is_secret(problem: &Problem) -> bool {
    SECRETS.contains(&problem.key.as_str())
}

fn told(problem: &Problem) -> Finding {
    Finding::wrong(format!("{} ({})", problem.key, problem.source), problem.message.clone())
}

/// Whether the data directory can be written, and has room.
pub fn data_directory(data_dir: &Path) -> Finding {
    let Some(present) = nearest(data_dir) else {
        return Finding::wrong(format!("{} has no parent", data_dir.display()), "name another one with --data-dir");
    };
    let shown = present.display();
    if let Err(error) = tempfile::NamedTempFile::new_in(&present) {
        let mend = "make it writable for the user that runs the server, or name another one with --data-dir";
        return Finding::wrong(format!("{shown} cannot be written: {error}"), mend);
    }
    let free_bytes = match statvfs(&present) {
        Ok(stat) => u128::from(stat.blocks_available()) * u128::from(stat.fragment_size()),
        Err(error) => return Finding::wrong(format!("{shown}: {error}"), "name another one with --data-dir"),
    };
    let free = format!("{} MiB free", free_bytes >> 20);
    if free_bytes < ENOUGH_BYTES {
        return Finding::wrong(
            format!("{shown} has {free}"),
            format!("make room: {} MiB at least", ENOUGH_BYTES >> 20),
        );
    }
    if present == data_dir {
        return Finding::well(format!("{shown} can be written, {free}"));
    }
    Finding::well(format!("{} will be made at the first start, {free}", data_dir.display()))
}

/// The directory, or the one above it that is there.
fn nearest(data_dir: &Path) -> Option<PathBuf> {
    if data_dir.exists() {
        return Some(data_dir.to_owned());
    }
    let whole = std::path::absolute(data_dir).ok()?;
    whole.ancestors().find(|path| path.exists()).map(Path::to_owned)
}

/// Whether this machine's clock can be right.
pub fn clock() -> Finding {
    clock_at(Utc::now())
}

fn clock_at(now: DateTime<Utc>) -> Finding {
    if (EARLIEST_MS..LATEST_MS).contains(&now.timestamp_millis()) {
        return Finding::well(now.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
    Finding::wrong(format!("this machine says it is {}", now.format("%Y-%m-%d")), "set the clock, and keep it with NTP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, Setting};

    const STRONG: &str = "b1946ac92492d2347c6235b4d2611184aa";

    fn config(settings: &[(&str, &str)], data_dir: &Path) -> Config {
        // The default provider may have been installed by another test of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut flags: Vec<Setting> = settings.iter().map(|(key, text)| Setting::new(key, *text, "test")).collect();
        flags.push(Setting::new("data.dir", data_dir.display().to_string(), "test"));
        Config::load(&Inputs { flags, ..Inputs::default() }).unwrap()
    }

    fn problem(finding: Finding) -> String {
        match finding {
            Finding::Wrong { problem, mend } => format!("{problem}; {mend}"),
            other => panic!("nothing wrong: {other:?}"),
        }
    }

    /// The one problem that was found.
    fn only(found: Vec<Finding>) -> String {
        let [one] = <[Finding; 1]>::try_from(found).expect("one finding");
        problem(one)
    }

    #[test]
    fn secrets_must_be_set_long_and_nobodys_example() {
        let scratch = tempfile::tempdir().unwrap();
        let found = |secret: &str| secrets(&config(&[("auth.jwt_secret", secret)], scratch.path()));
        assert!(only(found("")).contains("must be set"));
        assert!(only(found("short")).contains("has 5 characters"));
        assert!(only(found("please-Change-me-0123456789-abcdefgh")).contains("looks like an example"));
        assert_eq!(found(STRONG), [Finding::well("set, long enough, and no known example")]);
    }

    #[test]
    fn secrets_of_development_belong_to_their_user_alone() {
        let scratch = tempfile::tempdir().unwrap();
        DevFile::fresh().write(scratch.path()).unwrap();
        let found = || secrets(&config(&[], scratch.path()));
        assert!(matches!(found()[..], [Finding::Well(_)]), "{:?}", found());
        let file = scratch.path().join("dev.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(only(found()).contains("chmod 600"));
        fs::write(&file, "{}").unwrap();
        assert!(only(found()).contains("delete it"));
    }

    #[test]
    fn listening_in_the_clear_beyond_this_machine_is_a_problem() {
        let scratch = tempfile::tempdir().unwrap();
        let found = configuration(&config(&[("server.listen", "0.0.0.0:3140")], scratch.path()));
        assert!(only(found).starts_with("server.listen (test); 0.0.0.0:3140 can be reached"));
        assert!(matches!(configuration(&config(&[], scratch.path()))[..], [Finding::Well(_)]));
    }

    #[test]
    fn whatever_serve_refuses_is_shown_each_by_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let unsafe_ones = [
            ("auth.jwks_url", "https://id.example/keys"),
            ("http.cors_origins", "*"),
            ("store.database_url", "postgres://core314@db.example/core314?sslmode=require"),
            ("executors.commands.programs", "ops/restart=/bin/true"),
            ("secrets.key", STRONG),
            ("secrets.previous_key", STRONG),
            ("auth.service_key", "short"),
        ];
        let given = config(&unsafe_ones, scratch.path());
        let told: Vec<String> = configuration(&given).into_iter().chain(secrets(&given)).map(problem).collect();
        let keys: Vec<&str> = told.iter().filter_map(|text| text.split(' ').next()).collect();
        let expected = [
            "auth.issuer",
            "auth.audience",
            "executors.commands.tenants",
            "store.database_url",
            "http.cors_origins",
            "auth.service_key",
            "secrets.previous_key",
        ];
        assert_eq!(keys, expected, "{told:?}");
    }

    #[test]
    fn a_file_that_is_away_is_a_warning_while_the_server_goes_on_with_what_it_held() {
        let scratch = tempfile::tempdir().unwrap();
        let none = scratch.path().join("none").display().to_string();
        let named = [("auth.jwks_file", &*none), ("auth.issuer", "https://id.example"), ("auth.audience", "core314")];
        let given = config(&named, scratch.path());
        assert!(matches!(configuration(&given)[..], [Finding::Well(_)]), "{:?}", configuration(&given));
        assert!(only(files(&given, false)).starts_with("auth.jwks_file (test): "));
        assert!(matches!(&files(&given, true)[..], [Finding::Doubtful { doubt, .. }] if doubt.contains(&none)));
        assert_eq!(refused(&given).len(), 1, "it would not start");
        assert!(files(&config(&[], scratch.path()), false).is_empty());
    }

    #[test]
    fn what_development_may_is_no_problem_of_it() {
        let scratch = tempfile::tempdir().unwrap();
        DevFile::fresh().write(scratch.path()).unwrap();
        let given = config(&[("executors.commands.programs", "ops/restart=/bin/true")], scratch.path());
        assert!(matches!(configuration(&given)[..], [Finding::Well(_)]), "{:?}", configuration(&given));
    }

    #[test]
    fn root_is_warned_of_and_whoever_made_the_socket_is_the_server() {
        assert_eq!(user_who(false), Finding::well("not root"));
        assert!(matches!(user_who(true), Finding::Doubtful { doubt, .. } if doubt.contains("runs as root")));
        let scratch = tempfile::tempdir().unwrap();
        fs::write(local::socket_path(scratch.path()), "").unwrap();
        let owner = fs::metadata(scratch.path()).unwrap().uid();
        assert_eq!(user(scratch.path()), user_who(owner == 0));
        assert_eq!(user(&scratch.path().join("none")), user_who(rights::is_root()));
    }

    #[test]
    fn a_directory_is_there_will_be_or_cannot_be() {
        let scratch = tempfile::tempdir().unwrap();
        let words = |path: &Path| match data_directory(path) {
            Finding::Well(what) => what,
            other => problem(other),
        };
        // Where the disk is nearly full, that is what is said; both are right.
        let is_there = words(scratch.path());
        assert!(is_there.contains("can be written") || is_there.contains("make room"), "{is_there}");
        let will_be = words(&scratch.path().join("a/b"));
        assert!(will_be.contains("first start") || will_be.contains("make room"), "{will_be}");
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(words(&file).contains("cannot be written"), "{}", words(&file));
    }

    #[test]
    fn a_clock_of_another_century_is_wrong() {
        assert!(problem(clock_at(DateTime::UNIX_EPOCH)).contains("1970-01-01; set the clock"));
        assert!(matches!(clock(), Finding::Well(_)));
    }
}
