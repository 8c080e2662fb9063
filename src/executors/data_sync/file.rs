//! Rows into a file: into one beside it first, which takes its place when all is there.
//!
//! Invariants: whoever reads the file sees a whole one, of before or of now; what is written behind the kept position is cut
//! off when a sync goes on.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use core314_domain::log::Failure;
use nix::fcntl::OFlag;
use serde_json::Value;

use super::columns::{Row, object};
use super::plan::Format;
use super::position::Position;
use super::text::add_csv;
use crate::executors::failure::Code;

/// A file under way.
pub struct Part {
    /// Absent where it has taken its place already.
    file: Option<std::fs::File>,
    path: PathBuf,
    whole: PathBuf,
    format: Format,
    /// How much of it is durable.
    pub bytes: u64,
}

impl Part {
    /// Begins a file, or goes on with it.
    pub fn open(whole: PathBuf, format: Format, execution: &str, position: &Position<'_>) -> Result<Self, Failure> {
        let path = beside(&whole, execution);
        if let Some(before) = &position.before {
            // It was given up; that it is not there is as good.
            let _ = std::fs::remove_file(beside(&whole, before));
        }
        let bytes = position.state.destination.as_ref().and_then(|state| state["bytes"].as_u64());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).mode(0o640).custom_flags(OFlag::O_NOFOLLOW.bits());
        let opened = match bytes {
            None => options.create(true).truncate(true).open(&path),
            Some(_) => options.open(&path),
        };
        let bytes = bytes.unwrap_or_default();
        let file = match opened {
            Ok(file) => Some(file),
            // It died between taking its place and saying so.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && position.state.is_finishing => None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && bytes > 0 => return Err(gone()),
            Err(error) => return Err(unwritable(&error)),
        };
        if let Some(file) = &file {
            let length = file.metadata().map_err(|error| unwritable(&error))?.len();
            if length < bytes {
                return Err(gone());
            }
            file.set_len(bytes).map_err(|error| unwritable(&error))?;
        }
        Ok(Self { file, path, whole, format, bytes })
    }

    /// Adds rows, durably.
    pub fn put(&mut self, names: &[String], rows: &[Row]) -> Result<(), Failure> {
        let mut out = self.head(names);
        for (_, row) in rows {
            match self.format {
                Format::Csv(delimiter) => add_csv(&mut out, delimiter, row),
                Format::Lines => {
                    out.push_str(&object(names, row).to_string());
                    out.push('\n');
                }
            }
        }
        self.write(&out).map_err(|error| unwritable(&error))
    }

    /// Puts it in its place.
    pub fn finish(&mut self, names: &[String]) -> Result<(), Failure> {
        if self.file.is_none() {
            return Ok(());
        }
        let head = self.head(names);
        let place = || {
            std::fs::rename(&self.path, &self.whole)?;
            // The name is durable when its folder is.
            self.whole.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        };
        self.write_at_end(&head).and_then(|()| place()).map_err(|error| unwritable(&error))?;
        self.file = None;
        Ok(())
    }

    /// The names of columns, where a file of CSV begins.
    fn head(&self, names: &[String]) -> String {
        let mut out = String::new();
        if let (Format::Csv(delimiter), 0) = (self.format, self.bytes) {
            let names: Vec<Value> = names.iter().cloned().map(Value::String).collect();
            add_csv(&mut out, delimiter, &names);
        }
        out
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.write_at_end(text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn write_at_end(&self, text: &str) -> std::io::Result<()> {
        // Rows for a file that has taken its place already would be counted, and be nowhere.
        let Some(mut file) = self.file.as_ref() else { return Err(std::io::ErrorKind::NotFound.into()) };
        file.seek(SeekFrom::Start(self.bytes))?;
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

/// The file under way of an execution, which no name of a payload can mean, because it begins with a dot.
fn beside(whole: &Path, execution: &str) -> PathBuf {
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    whole.with_file_name(format!(".{name}.{execution}.part"))
}

fn gone() -> Failure {
    Code::SourceChanged.failure("what was written of the file is gone: start the sync again")
}

fn unwritable(error: &std::io::Error) -> Failure {
    let message = format!("the file cannot be written: {}", error.kind());
    match error.kind() {
        // Room may be made.
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::Interrupted => {
            Failure::retryable(Code::Refused.word(), message)
        }
        _ => Code::Refused.failure(message),
    }
}
