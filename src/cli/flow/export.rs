//! `core314 flow export`: flows as documents, to keep in a repository and to apply elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use core314_domain::document::FlowDocument;
use core314_domain::document::short::shorten;
use serde_json::Value;

use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Printer;
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// More flows than a tenant has.
const MOST_FLOWS: usize = 100_000;
/// File systems allow 255 bytes, a character takes up to four, and an id and an ending must fit too.
const NAME_CHARACTERS: usize = 50;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The flow's name or id; several with --dir.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<String>,
    /// Every flow.
    #[arg(long, conflicts_with = "names", requires = "dir")]
    all: bool,
    /// The form of the document.
    #[arg(long, value_enum, default_value = "yaml")]
    format: Format,
    /// Write the short form: what people type.
    #[arg(long)]
    short: bool,
    /// Write one file for each flow into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write over files that say something else.
    #[arg(long, requires = "dir")]
    force: bool,
}

/// The form of an exported document.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }
}

pub async fn export(session: &Session<'_>, args: &ExportArgs) -> Result<Exit, Failure> {
    match (&args.dir, args.names.as_slice()) {
        (Some(dir), _) => into_dir(session, args, dir).await,
        (None, [name]) => {
            let id = session.flow_id(name).await?;
            Printer::document(&document(session, &id, args).await?)?;
            Ok(Exit::Done)
        }
        (None, _) => Err(Failure::new(Exit::Usage, "several flows are written into a directory: name it with --dir")),
    }
}

async fn into_dir(session: &Session<'_>, args: &ExportArgs, dir: &Path) -> Result<Exit, Failure> {
    let flows = chosen(session, args).await?;
    fs::create_dir_all(dir).map_err(|error| in_file(dir, &error))?;
    let progress = Progress::new();
    let mut taken = BTreeSet::new();
    for (at, (name, id)) in flows.iter().enumerate() {
        progress.step(at, flows.len(), name);
        let path = dir.join(file_name(name, id, args.format, &mut taken));
        let text = document(session, id, args).await?;
        let word = write(&path, &text, args.force)?;
        progress.clear();
        session.printer.line(&format!("{word} {}", path.display()))?;
    }
    Ok(Exit::Done)
}

/// Names and ids of what is to be exported.
async fn chosen(session: &Session<'_>, args: &ExportArgs) -> Result<Vec<(String, String)>, Failure> {
    let text = |flow: &Value, member: &str| flow[member].as_str().unwrap_or_default().to_owned();
    if args.all {
        let flows = session.client.list(&["flows"], &[], MOST_FLOWS).await?;
        return Ok(flows.iter().map(|flow| (text(flow, "flow_name"), text(flow, "id"))).collect());
    }
    let mut found = Vec::new();
    for name in &args.names {
        found.push((name.clone(), session.flow_id(name).await?));
    }
    Ok(found)
}

async fn document(session: &Session<'_>, id: &str, args: &ExportArgs) -> Result<String, Failure> {
    if args.short {
        return short(session, id, args.format).await;
    }
    let query = [("format", args.format.as_str().to_owned())];
    let mut text = session.client.text(&["flows", id, "export"], &query).await?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// The same in the short form. This side writes it, so that any server will do.
async fn short(session: &Session<'_>, id: &str, format: Format) -> Result<String, Failure> {
    let shown = session.client.get(&["flows", id, "export"], &[("format", "json".to_owned())]).await?;
    let unreadable = |why: String| Failure::new(Exit::Failed, format!("the server's document cannot be read: {why}"));
    let document = FlowDocument::from_value(shown).map_err(|error| unreadable(error.to_string()))?;
    let short = shorten(&document);
    match format {
        Format::Json => {
            serde_json::to_string_pretty(&short).map(|text| text + "\n").map_err(|e| unreadable(e.to_string()))
        }
        Format::Yaml => serde_norway::to_string(&short).map_err(|e| unreadable(e.to_string())),
    }
}

/// A file's name for a flow. Whoever names flows must not choose where files are written, so that only harmless
/// characters stay; two flows never share a file, whatever the file system thinks of capitals.
fn file_name(name: &str, id: &str, format: Format, taken: &mut BTreeSet<String>) -> String {
    let harmless = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let stem: String = name.chars().map(harmless).take(NAME_CHARACTERS).collect();
    let stem = stem.trim_start_matches('.');
    let stem = if stem.is_empty() { id } else { stem };
    let plain = format!("{stem}.{}", format.as_str());
    if taken.insert(plain.to_lowercase()) {
        return plain;
    }
    format!("{stem}-{id}.{}", format.as_str())
}

/// Writes a file, unless it says something else and may not be written over.
fn write(path: &Path, text: &str, is_forced: bool) -> Result<&'static str, Failure> {
    match fs::read(path) {
        Ok(before) if before == text.as_bytes() => return Ok("unchanged"),
        Ok(_) if !is_forced => {
            let message = format!("{} is there and says something else", path.display());
            return Err(Failure::new(Exit::Failed, message).hint("--force writes over it"));
        }
        _ => {}
    }
    fs::write(path, text).map_err(|error| in_file(path, &error))?;
    Ok("wrote")
}

fn in_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flows_name_chooses_no_place() {
        let mut taken = BTreeSet::new();
        let mut name = |name: &str| file_name(name, "id-1", Format::Yaml, &mut taken);
        assert_eq!(name("nightly-checks"), "nightly-checks.yaml");
        assert_eq!(name("Nightly-Checks"), "Nightly-Checks-id-1.yaml");
        assert_eq!(name("../../etc/passwd"), "-..-etc-passwd.yaml");
        assert_eq!(name("/a\n\x1b[b"), "-a---b.yaml");
        assert_eq!(name(".."), "id-1.yaml");
        assert!(name(&"é".repeat(500)).len() < 255);
    }

    #[test]
    fn a_file_that_says_something_else_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.yaml");
        assert_eq!(write(&path, "one", false).unwrap(), "wrote");
        assert_eq!(write(&path, "one", false).unwrap(), "unchanged");
        assert!(write(&path, "two", false).unwrap_err().hint.is_some_and(|hint| hint.contains("--force")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(write(&path, "two", true).unwrap(), "wrote");
    }
}
