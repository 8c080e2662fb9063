//! Flow documents on disk: which files there are, and what they say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use core314_domain::document::short::Places;
use core314_domain::document::{FlowDocument, ShapeError};

use crate::cli::args::read_text;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::written::in_file;

/// More files are a mistake in the path.
const MOST_FILES: usize = 10_000;
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Which documents a command is about.
#[derive(Debug, Args)]
pub struct Paths {
    /// Flow documents (YAML or JSON), or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
}

/// A file, and its document or what is wrong with it.
pub struct Read {
    pub path: PathBuf,
    /// What is in it: only the text knows the lines of what is wrong.
    pub text: String,
    pub document: Result<FlowDocument, ShapeError>,
    /// Where the document's parts stand in the file.
    pub places: Places,
}

impl Paths {
    /// One file.
    pub fn of(path: &Path) -> Self {
        Self { paths: vec![path.to_owned()] }
    }

    /// Every document. One mistake anywhere is enough to do nothing.
    pub fn documents(&self) -> Result<Vec<(PathBuf, FlowDocument)>, Failure> {
        let read = self.read()?;
        let found = read.into_iter().map(|Read { path, document, .. }| match document {
            Ok(document) => Ok((path, document)),
            Err(why) => Err(in_file(&path, &why.to_string())),
        });
        found.collect()
    }

    /// Every file with what it says, mistakes beside documents.
    pub fn read(&self) -> Result<Vec<Read>, Failure> {
        let mut files = Vec::new();
        for path in &self.paths {
            gather(path, true, &mut files).map_err(|error| in_file(path, &error.to_string()))?;
        }
        if files.is_empty() {
            return Err(Failure::new(Exit::Usage, "there are no flow documents: no file ends in .yaml, .yml or .json"));
        }
        let mut found: Vec<Read> = Vec::new();
        for path in files {
            let text = read_text(&path).map_err(|error| in_file(&path, &error.to_string()))?;
            let (document, places) = match FlowDocument::from_text_with_places(&text) {
                Ok((document, places)) => (Ok(document), places),
                Err(error) => (Err(error), Places::default()),
            };
            let document = document.and_then(|document| match first_of_its_name(&found, &document) {
                None => Ok(document),
                Some(other) => {
                    let message = format!("flow '{}' is in {} too", document.flow_name, other.display());
                    Err(ShapeError { pointer: "/flow_name".to_owned(), message })
                }
            });
            found.push(Read { path, text, document, places });
        }
        Ok(found)
    }
}

fn first_of_its_name<'a>(found: &'a [Read], document: &FlowDocument) -> Option<&'a Path> {
    let is_same = |read: &&Read| read.document.as_ref().is_ok_and(|known| known.flow_name == document.flow_name);
    found.iter().find(is_same).map(|read| read.path.as_path())
}

/// Files in the order of their names. A file that is named is read whatever its ending.
fn gather(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path == Path::new("-") || !fs::metadata(path)?.is_dir() {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if is_named || ENDINGS.contains(&ending) {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    inside.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    inside.sort();
    for path in inside {
        if files.len() >= MOST_FILES {
            return Err(io::Error::other(format!("more than {MOST_FILES} files")));
        }
        // A link may lead back up; directories are followed only where they stand.
        if !(path.is_symlink() && path.is_dir()) {
            gather(&path, false, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str =
        "flow_name: NAME\ntrigger_type: manual\nflow_steps:\n  - {id: x, config: {action_type: transform}}\n";

    #[test]
    fn directories_are_read_in_order_and_mistakes_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.yaml", &FLOW.replace("NAME", "b"));
        write("a/deep.yml", &FLOW.replace("NAME", "deep"));
        write("a/notes.txt", "not a flow");
        write(".hidden.yaml", "not a flow");
        let names = |paths: &[PathBuf]| {
            let documents = Paths { paths: paths.to_vec() }.documents();
            documents.map(|found| found.into_iter().map(|(_, d)| d.flow_name).collect::<Vec<_>>())
        };
        let root = scratch.path().to_owned();
        assert_eq!(names(std::slice::from_ref(&root)).unwrap(), ["deep", "b"]);
        assert!(names(&[root.join("a/notes.txt")]).is_err(), "a named file is read whatever its ending");
        assert_eq!(names(&[root.join("missing")]).expect_err("missing").exit, Exit::Usage);
        write("c.json", "{\"flow_name\": 1}");
        let message = names(std::slice::from_ref(&root)).expect_err("no flow").message;
        assert!(message.contains("c.json: ") && message.contains("line 1"), "{message}");
        write("c.json", &FLOW.replace("NAME", "b"));
        let message = names(&[root]).expect_err("twice").message;
        assert!(message.contains("c.json: /flow_name: flow 'b' is in") && message.contains("b.yaml too"), "{message}");
    }
}
