//! `core314 init`: a configuration for a server of one's own, with secrets that nobody else has.
//!
//! Only what has no default stands in it. It is written as a whole, for its user alone, and never over another file: whoever lost the
//! secrets of a server would have lost what they encrypt. The first administrator's key is made by the running server, so that it
//! stands in no file.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use tempfile::NamedTempFile;

use super::Global;
use super::outcome::{Exit, Failure};
use super::print::Printer;
use crate::config::local::random_text;
use crate::config::{Config, Inputs};

/// Where nothing else is said.
const FILE: &str = "core314.toml";

pub fn init(global: &Global, printer: &Printer) -> Result<Exit, Failure> {
    let inputs = global.inputs(&[]);
    let path = inputs.named_file().unwrap_or_else(|| FILE.into());
    // Of the file that is to be written nothing is known yet; what the environment says holds over it anyway.
    let flags = Config::load(&Inputs { flags: inputs.flags, ..Inputs::default() })?;
    let data_dir = std::path::absolute(flags.data_dir())?;
    write(&path, &text(&data_dir, global.database_url.as_deref())?)?;
    let file = path.display();
    let next =
        [format!("core314 serve --config {file}"), format!("core314 token create NAME --platform --config {file}")];
    if !printer.is_table() {
        printer.value(&json!({"file": file.to_string(), "next": next}))?;
        return Ok(Exit::Done);
    }
    printer.line(&format!(
        "{file} is written, for you alone to read. Keep a copy of it apart from backups: what its secrets.key encrypts cannot be \
         read without.\n\nNext:\n  {}\nand beside it, for the first administrator's key:\n  {}",
        next[0], next[1]
    ))?;
    Ok(Exit::Done)
}

/// The file: a path in it holds wherever the server is started.
fn text(data_dir: &Path, database_url: Option<&str>) -> Result<String, Failure> {
    let data_dir =
        data_dir.to_str().ok_or_else(|| Failure::new(Exit::Usage, "the data directory's path must be UTF-8"))?;
    let store = database_url.map_or_else(String::new, |url| format!("\n[store]\ndatabase_url = {}\n", json!(url)));
    Ok(format!(
        "# Written by `core314 init`. `core314 config show` prints every key that is in force, and config/default.toml explains them.\n\
         \n[data]\ndir = {}\n{store}\
         \n[auth]\n# Signs users' tokens.\njwt_secret = \"{}\"\n\
         \n[secrets]\n# Encrypts secrets that must be had back: without it they cannot be read.\nkey = \"{}\"\n",
        json!(data_dir),
        random_text(),
        random_text()
    ))
}

/// Writes the file as a whole, unless one is there.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let wrong = |error: &io::Error| {
        let failure = Failure::new(Exit::Failed, format!("{}: {error}", path.display()));
        failure.hint("name a file in a directory that you may write to with --config")
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only its user can read it from the beginning.
    let mut file = NamedTempFile::new_in(parent).map_err(|error| wrong(&error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|error| wrong(&error))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
            let failure =
                Failure::new(Exit::Failed, format!("{} is there already, and stays as it is", path.display()));
            Err(failure.hint("name another file with --config"))
        }
        Err(refused) => Err(wrong(&refused.error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::app;
    use crate::config::Mode;

    #[test]
    fn what_is_written_can_be_served_and_is_its_users_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("core314.toml");
        let data_dir = scratch.path().join("a \"b\"");
        write(&path, &text(&data_dir, Some("sqlite:/tmp/x.db")).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let config = Config::load(&Inputs { file: Some(path.clone()), ..Inputs::default() }).unwrap();
        app::check_safety(&config, Mode::Serve).unwrap();
        assert_eq!(config.data_dir(), data_dir);
        assert_eq!(config.database_url(), "sqlite:/tmp/x.db");
        let again = text(&data_dir, None).unwrap();
        assert_ne!(again, text(&data_dir, None).unwrap(), "the secrets are fresh each time");
        let before = fs::read_to_string(&path).unwrap();
        let failure = write(&path, &again).expect_err("it is there");
        assert!(failure.message.contains("is there already"), "{}", failure.message);
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing else is left");
        assert_eq!(write(&scratch.path().join("none/x"), "").expect_err("no directory").exit, Exit::Failed);
    }
}
