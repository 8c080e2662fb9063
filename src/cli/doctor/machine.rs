//! What can be checked without a server: configuration, secrets, data directory, clock.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::config::local::DevFile;
use crate::config::{Config, ConfigError, Mode, Problem};

/// With less, a busy hour may fill the disk, and a full disk stops every commit.
const ENOUGH_BYTES: u128 = 1 << 30;
/// This release was made after it (2026-01-01): a clock before it is wrong.
const EARLIEST_MS: i64 = 1_767_225_600_000;
/// And nobody runs it after this (2100-01-01).
const LATEST_MS: i64 = 4_102_444_800_000;
/// Words of examples and of haste; a random secret has none of them.
const EXAMPLES: [&str; 6] = ["change", "default", "example", "password", "secret", "123456"];

/// Whether what is in force can be served. Secrets have a check of their own.
pub fn configuration(config: &Config) -> Finding {
    if let Some(problem) = unsafe_parts(config).iter().find(|problem| !is_secret(problem)) {
        return Finding::wrong(format!("{} ({})", problem.key, problem.source), problem.message.clone());
    }
    if let Some(note) = config.notes().first() {
        return Finding::wrong(note, "correct it, so that it says what is meant");
    }
    let changed = config.shown().iter().filter(|shown| shown.source != "default").count();
    Finding::well(format!("keys that differ from the defaults: {changed} (`core314 config show --changed`)"))
}

/// Whether secrets are set, long enough, and not somebody's example.
pub fn secrets(config: &Config) -> Finding {
    let dev_file = config.data_dir().join("dev.json");
    if config.secret("auth.jwt_secret").is_none() && dev_file.exists() {
        return development(&config.data_dir(), &dev_file);
    }
    if let Some(problem) = unsafe_parts(config).iter().find(|problem| is_secret(problem)) {
        return Finding::wrong(format!("{} ({})", problem.key, problem.source), problem.message.clone());
    }
    for key in ["auth.jwt_secret", "auth.service_key"] {
        let secret = config.secret(key).unwrap_or_default().to_lowercase();
        if EXAMPLES.iter().any(|word| secret.contains(word)) {
            return Finding::wrong(format!("{key} looks like an example"), "make one with `openssl rand -hex 32`");
        }
    }
    Finding::well("set, long enough, and no known example")
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

fn unsafe_parts(config: &Config) -> Vec<Problem> {
    config.check_safety(Mode::Serve).err().map_or_else(Vec::new, |ConfigError(problems)| problems)
}

fn is_secret(problem: &Problem) -> bool {
    problem.key.starts_with("auth.")
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

    fn config(settings: &[(&str, &str)], data_dir: &Path) -> Config {
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

    #[test]
    fn secrets_must_be_set_long_and_nobodys_example() {
        let scratch = tempfile::tempdir().unwrap();
        let found = |secret: &str| secrets(&config(&[("auth.jwt_secret", secret)], scratch.path()));
        assert!(problem(found("")).contains("must be set"));
        assert!(problem(found("short")).contains("has 5 characters"));
        assert!(problem(found("please-Change-me-0123456789-abcdefgh")).contains("looks like an example"));
        assert_eq!(
            found("b1946ac92492d2347c6235b4d2611184aa"),
            Finding::well("set, long enough, and no known example")
        );
    }

    #[test]
    fn secrets_of_development_belong_to_their_user_alone() {
        let scratch = tempfile::tempdir().unwrap();
        DevFile::fresh().write(scratch.path()).unwrap();
        let found = || secrets(&config(&[], scratch.path()));
        assert!(matches!(found(), Finding::Well(_)), "{:?}", found());
        let file = scratch.path().join("dev.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(problem(found()).contains("chmod 600"));
        fs::write(&file, "{}").unwrap();
        assert!(problem(found()).contains("delete it"));
    }

    #[test]
    fn listening_in_the_clear_beyond_this_machine_is_a_problem() {
        let scratch = tempfile::tempdir().unwrap();
        let found = configuration(&config(&[("server.listen", "0.0.0.0:3140")], scratch.path()));
        assert!(problem(found).starts_with("server.listen (test); 0.0.0.0:3140 can be reached"));
        assert!(matches!(configuration(&config(&[], scratch.path())), Finding::Well(_)));
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
