//! `dev.json` in the data directory: the credentials of `core314 dev`, readable by their user alone.
//!
//! They survive restarts, and the command line on the same machine finds them, so that nobody copies keys around while
//! trying things out. A server for production neither writes nor reads this file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use core314_domain::ids::RowId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What `core314 dev` remembers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevFile {
    /// Where the server listened last, such as `http://127.0.0.1:3140`.
    pub server: String,
    /// The development user.
    pub user_id: Uuid,
    /// A service key that may act for that user.
    pub key: String,
    /// What users' tokens are signed with.
    pub jwt_secret: String,
    /// What stored secrets are encrypted with. Files of earlier versions have none.
    #[serde(default = "random_text")]
    pub secret_key: String,
    /// The demonstration's webhook.
    pub webhook_id: Uuid,
    pub webhook_secret: String,
    /// Where to post to it.
    pub webhook_url: String,
}

impl DevFile {
    /// Fresh credentials.
    pub fn fresh() -> Self {
        Self {
            server: String::new(),
            user_id: fresh_id(),
            key: format!("dev_{}", random_text()),
            jwt_secret: random_text(),
            secret_key: random_text(),
            webhook_id: fresh_id(),
            webhook_secret: random_text(),
            webhook_url: String::new(),
        }
    }

    /// What the data directory holds; `None` where there is no such file.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        let path = path(data_dir);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                io::Error::other(format!(
                    "{} cannot be read ({error}); delete it to get new credentials",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes the file as a whole: a reader sees the old one or the new one.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        make_dir(data_dir)?;
        let temporary = data_dir.join(format!(".dev.json.{}", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let text = serde_json::to_string_pretty(self).expect("texts and ids can be written as JSON");
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, path(data_dir))
    }
}

/// Makes the data directory, readable by its user alone, where it is missing.
pub fn make_dir(data_dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| {
        io::Error::new(error.kind(), format!("the data directory {} cannot be made: {error}", data_dir.display()))
    })
}

/// The socket by which the command line of the same user reaches the server.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("core314.sock")
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev.json")
}

/// 256 random bits in hexadecimal.
pub fn random_text() -> String {
    let (high, low) = rand::random::<(u128, u128)>();
    format!("{high:032x}{low:032x}")
}

/// Version 7, as all keys are.
fn fresh_id() -> Uuid {
    let now_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    RowId::new(now_ms, rand::random()).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn credentials_survive_and_belong_to_their_user_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().join("data");
        assert!(DevFile::read(&data_dir).unwrap().is_none());
        let written = DevFile::fresh();
        written.write(&data_dir).unwrap();
        written.write(&data_dir).unwrap();
        assert!(DevFile::read(&data_dir).unwrap() == Some(written));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&path(&data_dir))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn a_broken_file_says_what_to_do() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(path(scratch.path()), "{}").unwrap();
        let error = DevFile::read(scratch.path()).err().unwrap().to_string();
        assert!(error.contains("dev.json") && error.contains("delete it"), "{error}");
    }

    #[test]
    fn fresh_credentials_differ_and_pass_for_strong_ones() {
        let (one, other) = (DevFile::fresh(), DevFile::fresh());
        assert!(one.key != other.key && one.jwt_secret != other.jwt_secret && one.user_id != other.user_id);
        assert!(one.key.len() >= 64 && one.jwt_secret.len() >= 64);
    }
}
