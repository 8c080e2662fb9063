//! What is measured beside us (`benches/peers`) is what the table says: exact versions, locked, by whoever measures.
//!
//! The lock files name no address: where packages come from is the matter of the machine on which they are installed.

use crate::tree::Violation;

/// A dependency of a `package.json` that is not exact, and an address in a lock file.
fn check(path: &str, text: &str) -> Vec<Violation> {
    let is_lock = path.ends_with("package-lock.json");
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if is_lock && line.starts_with("\"resolved\"") {
            let mend = "an address: make the lock file with --omit-lockfile-registry-resolved";
            found.push(Violation::new(path, index + 1, mend));
        }
        if line.ends_with('{') {
            in_dependencies = line.starts_with("\"dependencies\"") || line.starts_with("\"optionalDependencies\"");
        } else if line.starts_with('}') {
            in_dependencies = false;
        } else if in_dependencies && !is_lock && !is_exact(line) {
            found.push(Violation::new(path, index + 1, "a range: name the one version that is measured"));
        }
    }
    found
}

/// `"name": "1.2.3",`
fn is_exact(line: &str) -> bool {
    let version = line.rsplit(": ").next().unwrap_or_default().trim_matches(['"', ',']);
    let parts: Vec<&str> = version.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, files, read, root};

    #[test]
    fn the_trees_peers_are_exact_and_locked() {
        let described = files("benches/peers", "package.json");
        let locks = files("benches/peers", "package-lock.json");
        let all = described.iter().chain(&locks);
        let found: Vec<Violation> = all.flat_map(|path| check(path, &read(path))).collect();
        assert_none(described.len(), &found);
        for path in &described {
            let lock = path.replace("package.json", "package-lock.json");
            assert!(root().join(&lock).exists(), "{lock} is missing: docs/peers.md says how it is made");
        }
    }

    #[test]
    fn ranges_and_addresses_are_found() {
        let described = "{\n\"type\": \"module\",\n\"dependencies\": {\n\"a\": \"1.2.3\",\n\"b\": \"^1.2.3\",\n\"c\": \"1.2\"\n}\n}";
        let lines: Vec<usize> = check("x/package.json", described).iter().map(|found| found.line).collect();
        assert_eq!(lines, [5, 6]);
        let lock = "{\n\"resolved\": \"https://example.com/a.tgz\",\n\"dependencies\": {\n\"a\": \"^1\"\n}\n}";
        assert_eq!(check("x/package-lock.json", lock).len(), 1);
    }
}
