//! Folders of this machine: which, the server's configuration alone says (section `[executors.sync]`), because a tenant must
//! not reach into the machine.
//!
//! Invariant: a name leads to a file within its folder and nowhere else, also through links.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use core314_domain::ids::TenantId;

use super::SyncSettings;
use crate::executors::tenants::Tenants;

/// What stands for the tenant's id in a path.
const TENANT: &str = "{tenant}";
const MAX_NAME_BYTES: usize = 255;

/// What the configuration says cannot be: stop the start and say so.
#[derive(Debug, thiserror::Error)]
#[error("executors.sync.{key}: '{entry}' {problem}")]
pub struct FoldersError {
    key: &'static str,
    entry: String,
    problem: &'static str,
}

/// The folders by their names.
#[derive(Debug)]
pub struct Folders {
    known: BTreeMap<String, String>,
    tenants: Tenants,
}

impl Folders {
    pub fn new(settings: &SyncSettings) -> Result<Self, FoldersError> {
        let mut known = BTreeMap::new();
        for entry in &settings.folders {
            let wrong = |problem| FoldersError { key: "folders", entry: entry.clone(), problem };
            let (name, path) = entry.split_once('=').ok_or_else(|| wrong("must be NAME=PATH"))?;
            if name.is_empty() || !Path::new(path).is_absolute() {
                return Err(wrong("must be NAME=PATH: a name, and a path that begins with `/`"));
            }
            known.insert(name.to_owned(), path.to_owned());
        }
        let wrong = |entry| FoldersError { key: "tenants", entry, problem: "is neither `*` nor an id" };
        Ok(Self { known, tenants: Tenants::new(&settings.tenants).map_err(wrong)? })
    }

    /// Whether there is a folder of this name.
    pub fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// A tenant's file in a folder; an error says what is wrong. That of a tenant of its own is made when it is needed.
    pub fn file(&self, folder: &str, tenant: TenantId, name: &str) -> Result<PathBuf, String> {
        if !self.tenants.has(tenant) {
            return Err("executors.sync.tenants of this server's configuration does not name this tenant".to_owned());
        }
        let path = self.known.get(folder).ok_or_else(|| format!("there is no folder '{folder}'"))?;
        if let Some(problem) = name_problem(name) {
            return Err(problem.to_owned());
        }
        let unusable = |error: std::io::Error| format!("folder '{folder}' cannot be used: {}", error.kind());
        let root = PathBuf::from(path.replace(TENANT, &tenant.to_string()));
        if path.contains(TENANT) {
            std::fs::create_dir_all(&root).map_err(unusable)?;
        }
        let root = root.canonicalize().map_err(unusable)?;
        let file = root.join(name);
        let parent = file.parent().unwrap_or(&root);
        let missing = |error: std::io::Error| format!("'{name}' cannot be reached: {}", error.kind());
        let parent = parent.canonicalize().map_err(missing)?;
        let whole = parent.join(file.file_name().unwrap_or_default());
        // A link may lead anywhere: it is followed before it is judged.
        let end = if whole.exists() { whole.canonicalize().map_err(missing)? } else { whole };
        if end.starts_with(&root) { Ok(end) } else { Err(format!("'{name}' leads out of its folder")) }
    }
}

/// What is wrong with the name of a file, whatever there is under it.
pub fn name_problem(name: &str) -> Option<&'static str> {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.chars().any(char::is_control);
    if name.len() > MAX_NAME_BYTES || !name.split('/').all(is_part) {
        return Some("must be a path below the folder: names with `/` between them, none of which begins with a dot");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(entry: String, tenants: &str) -> Result<Folders, String> {
        let settings = SyncSettings {
            folders: vec![entry],
            tenants: vec![tenants.to_owned()],
            allow_all_tenants: false,
            batch_rows: 1,
            batch_bytes: 1,
            max_row_bytes: 1,
            max_syncs_per_tenant: 1,
        };
        Folders::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("passwords"), "x").expect("a file");
        let inside = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).expect("a link");
        std::os::unix::fs::symlink(outside.path().join("passwords"), inside.path().join("file")).expect("a link");
        std::fs::create_dir(inside.path().join("sub")).expect("a folder");
        let known = folders(format!("drop={}", inside.path().display()), "*").expect("good");
        let tenant: TenantId = "0190a000-0000-7000-8000-000000000007".parse().expect("an id");
        let root = inside.path().canonicalize().expect("a path");
        assert_eq!(known.file("drop", tenant, "sub/a.csv"), Ok(root.join("sub/a.csv")));
        for name in
            ["../x", "/etc/passwd", ".hidden", "sub/../../x", "", "a//b", "a\nb", "link/passwords", "file", "no/x"]
        {
            assert!(known.file("drop", tenant, name).is_err(), "{name}");
        }
        let own = folders(format!("drop={}/of/{{tenant}}", inside.path().display()), "*").expect("good");
        assert_eq!(own.file("drop", tenant, "a.csv"), Ok(root.join("of").join(tenant.to_string()).join("a.csv")));
        let others = folders(format!("drop={}", inside.path().display()), "0190a000-0000-7000-8000-000000000008");
        assert!(others.expect("good").file("drop", tenant, "a.csv").is_err_and(|said| said.contains("tenants")));
        assert!(folders("drop=here".to_owned(), "*").is_err_and(|said| said.contains("begins with `/`")));
    }
}
