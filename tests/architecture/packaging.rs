//! What is shipped beside the binary (`packaging/`) names nothing that the binary does not know, and agrees with its
//! defaults.
//!
//! A unit or a manifest with a misspelt variable starts all the same, with a default where somebody meant something else;
//! a port or a time that was changed in one place alone is found by users. Held here: variables, keys, commands, ports,
//! paths of probes, the time to stop, and what a pod must not be allowed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::Violation;

/// What the binary knows, read from its sources.
struct Known {
    keys: BTreeSet<String>,
    short_names: BTreeSet<String>,
    commands: BTreeSet<String>,
}

impl Known {
    fn new(defaults: &str, layers: &str, cli: &str) -> Self {
        // Behind this stand names that others set.
        let own = layers.split("const FOREIGN_PREFIXES").next().unwrap_or_default();
        let short_names = own.split('"').filter(|text| text.starts_with("CORE314_")).map(str::to_owned).collect();
        Self { keys: keys(defaults), short_names, commands: commands(cli) }
    }

    fn has_variable(&self, name: &str) -> bool {
        match name.strip_prefix("CORE314__") {
            Some(path) => self.keys.contains(&path.to_lowercase().replace("__", ".")),
            None => self.short_names.contains(name),
        }
    }
}

/// The keys of a configuration file, as `section.key`.
fn keys(toml: &str) -> BTreeSet<String> {
    let (mut section, mut found) = (String::new(), BTreeSet::new());
    for line in toml.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_key(key)) {
            found.insert(format!("{section}.{key}"));
        }
    }
    found
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The commands of `enum Command`, as they are typed.
fn commands(cli: &str) -> BTreeSet<String> {
    let body = cli.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let variant = |line: &str| {
        let name = line.strip_prefix("    ")?;
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| kebab(name))
    };
    body.lines().filter_map(variant).collect()
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// A whole number that a configuration file gives to a key.
fn number(toml: &str, key: &str) -> u64 {
    let lines = toml.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "));
    lines.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key} is no number"))
}

/// Variables that a file names, in its comments too, that nothing reads.
fn check_variables(path: &str, text: &str, known: &Known) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for name in words.filter(|word| word.starts_with("CORE314_")) {
            if !known.has_variable(name) {
                let message = format!("{name} is no variable of the configuration: see docs/configuration.md");
                found.push(Violation::new(path, index + 1, message));
            }
        }
    }
    found
}

/// Keys of a configuration file that do not exist.
fn check_keys(path: &str, toml: &str, known: &Known) -> Vec<Violation> {
    let wrong = keys(toml).into_iter().filter(|key| !known.keys.contains(key));
    wrong.map(|key| Violation::new(path, 1, format!("{key} is no key of config/default.toml"))).collect()
}

/// What a file starts, if that is not one command of the binary and nothing else.
fn check_command(path: &str, words: &[String], known: &Known) -> Option<Violation> {
    let is_known = words.len() == 1 && known.commands.contains(&words[0]);
    (!is_known).then(|| Violation::new(path, 1, format!("{words:?} is no command of core314")))
}

/// The words of the JSON array at the end of a line.
fn array(line: &str) -> Vec<String> {
    let text = line.find('[').map_or("", |at| &line[at..]);
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What of a pod's rights is wrong.
fn check_pod(path: &str, pod: &Value) -> Vec<Violation> {
    let container = &pod["containers"][0];
    let rights = &container["securityContext"];
    let wanted = [
        ("runAsNonRoot", pod["securityContext"]["runAsNonRoot"] == true),
        ("seccompProfile", pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"),
        ("automountServiceAccountToken", pod["automountServiceAccountToken"] == false),
        ("enableServiceLinks", pod["enableServiceLinks"] == false),
        ("one container", pod["containers"].as_array().is_some_and(|all| all.len() == 1)),
        ("allowPrivilegeEscalation", rights["allowPrivilegeEscalation"] == false),
        ("readOnlyRootFilesystem", rights["readOnlyRootFilesystem"] == true),
        ("capabilities", rights["capabilities"]["drop"][0] == "ALL"),
        ("a limit of memory", container["resources"]["limits"]["memory"].is_string()),
        ("a request of cpu", container["resources"]["requests"]["cpu"].is_string()),
    ];
    let wrong = wanted.into_iter().filter(|(_, holds)| !holds);
    wrong.map(|(what, _)| Violation::new(path, 1, format!("{what} is not as it must be in a pod"))).collect()
}

/// Mounts of a container that no volume of its pod, nor one of the given claims, is for.
fn check_mounts(path: &str, pod: &Value, claims: &Value) -> Vec<Violation> {
    let names = |list: &Value, at: &str| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| item.pointer(at).and_then(Value::as_str)).map(str::to_owned).collect()
    };
    let mut there = names(&pod["volumes"], "/name");
    there.extend(names(claims, "/metadata/name"));
    let mounted = names(&pod["containers"][0]["volumeMounts"], "/name");
    let wrong = mounted.symmetric_difference(&there);
    wrong.map(|name| Violation::new(path, 1, format!("{name} is not both a volume and mounted"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{assert_none, files, read};

    const DEFAULTS: &str = "config/default.toml";
    const UNIT: &str = "packaging/systemd/core314.service";
    const IMAGE: &str = "packaging/container/Containerfile";
    const MANIFESTS: &str = "packaging/kubernetes";
    const WORKLOADS: [&str; 2] =
        ["packaging/kubernetes/sqlite/stateful-set.yaml", "packaging/kubernetes/postgres/deployment.yaml"];

    fn known() -> Known {
        let known = Known::new(&read(DEFAULTS), &read("src/config/layers.rs"), &read("src/cli.rs"));
        assert!(known.keys.contains("shutdown.grace_seconds") && known.has_variable("CORE314_JWT_SECRET"));
        assert!(known.commands.contains("serve") && known.commands.contains("dead-letters"));
        known
    }

    fn yaml(path: &str) -> Value {
        serde_norway::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn port() -> u64 {
        let defaults = read(DEFAULTS);
        let (_, rest) = defaults.split_once("listen = \"127.0.0.1:").expect("the default address");
        rest.split('"').next().unwrap_or_default().parse().expect("a port")
    }

    /// A server that is told to stop has ended after so many seconds, one way or the other.
    fn stops_within() -> u64 {
        let defaults = read(DEFAULTS);
        number(&defaults, "grace_seconds") + number(&defaults, "store_seconds")
    }

    #[test]
    fn the_trees_variables_and_keys_exist() {
        let known = known();
        let paths = files("packaging", "");
        let mut found: Vec<Violation> =
            paths.iter().flat_map(|path| check_variables(path, &read(path), &known)).collect();
        let toml = files("packaging", ".toml");
        assert!(!toml.is_empty());
        found.extend(toml.iter().flat_map(|path| check_keys(path, &read(path), &known)));
        assert_none(paths.len(), &found);
    }

    #[test]
    fn the_trees_commands_exist() {
        let known = known();
        let (unit, image) = (read(UNIT), read(IMAGE));
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
        let mut all = vec![(UNIT, start.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>())];
        let line = |of: &str| image.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("{of}"));
        all.push((IMAGE, array(line("CMD [\"serve\""))));
        all.push((IMAGE, array(line("HEALTHCHECK ")).split_off(1)));
        for path in WORKLOADS {
            let args = yaml(path)["spec"]["template"]["spec"]["containers"][0]["args"].take();
            all.push((path, serde_json::from_value(args).expect("texts")));
        }
        let found: Vec<Violation> = all.iter().filter_map(|(path, words)| check_command(path, words, &known)).collect();
        assert_none(all.len(), &found);
    }

    #[test]
    fn ports_and_probes_are_the_servers_own() {
        let (port, image, routes) = (port(), read(IMAGE), read("src/http.rs"));
        assert!(
            image.contains(&format!("EXPOSE {port}\n")) && image.contains(&format!("CORE314_LISTEN=0.0.0.0:{port}\n"))
        );
        for path in WORKLOADS {
            let container = yaml(path)["spec"]["template"]["spec"]["containers"][0].take();
            assert_eq!(container["ports"][0]["containerPort"], port, "{path}");
            let name = &container["ports"][0]["name"];
            for (probe, asked) in [("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")] {
                let get = &container[format!("{probe}Probe")]["httpGet"];
                assert_eq!(get["path"], asked, "{path}");
                assert_eq!(get["port"], *name, "{path}");
                assert!(routes.contains(&format!("\"{asked}\"")), "the server has no {asked}");
            }
            assert_eq!(yaml(&format!("{MANIFESTS}/base/service.yaml"))["spec"]["ports"][0]["targetPort"], *name);
        }
    }

    #[test]
    fn whoever_stops_a_server_waits_longer_than_it_takes() {
        let (unit, needed) = (read(UNIT), stops_within());
        let given = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("TimeoutStopSec");
        assert!(given.parse::<u64>().expect("seconds") > needed, "{given} s are not more than {needed}");
        for path in WORKLOADS {
            let given = yaml(path)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
            assert!(given.is_some_and(|seconds| seconds > needed), "{path}: {given:?}, more than {needed} are needed");
        }
    }

    #[test]
    fn pods_are_one_and_may_do_little() {
        for path in WORKLOADS {
            let whole = yaml(path);
            let pod = &whole["spec"]["template"]["spec"];
            let mut found = check_pod(path, pod);
            found.extend(check_mounts(path, pod, &whole["spec"]["volumeClaimTemplates"]));
            assert_none(1, &found);
            assert_eq!(whole["spec"]["replicas"], 1, "a second server of one database is refused");
            let labels = &whole["spec"]["template"]["metadata"]["labels"];
            assert_eq!(whole["spec"]["selector"]["matchLabels"], *labels, "{path}");
        }
    }

    #[test]
    fn every_manifest_is_one_and_belongs_to_a_kustomization() {
        let paths = files(MANIFESTS, ".yaml");
        assert!(paths.len() > WORKLOADS.len());
        for path in &paths {
            let (folder, name) = path.rsplit_once('/').expect("a folder");
            let whole = yaml(path);
            assert!(whole["apiVersion"].is_string() && whole["kind"].is_string(), "{path}");
            let list = yaml(&format!("{folder}/kustomization.yaml"))["resources"].take();
            let list: Vec<String> = serde_json::from_value(list).expect("texts");
            if name == "kustomization.yaml" {
                for file in list.iter().filter(|file| *file != "../base") {
                    assert!(paths.contains(&format!("{folder}/{file}")), "{path} names {file}");
                }
            } else {
                assert!(whole["metadata"]["name"].is_string(), "{path}");
                assert!(list.contains(&name.to_owned()), "{folder}/kustomization.yaml leaves {name} out");
            }
        }
    }

    #[test]
    fn the_image_is_built_with_the_release_that_is_needed_and_has_the_versions_name() {
        let manifest = read("Cargo.toml");
        let value = |key: &str| {
            let line = manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            line.and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("{key}")).to_owned()
        };
        let (rust, version) = (value("rust-version"), value("version"));
        assert!(read(IMAGE).contains(&format!("FROM rust:{rust}-")), "rust-version is {rust}");
        for store in ["sqlite", "postgres"] {
            let images = yaml(&format!("{MANIFESTS}/{store}/kustomization.yaml"))["images"].take();
            assert_eq!(images[0]["newTag"], *version, "{store}");
        }
    }

    #[test]
    fn what_does_not_exist_is_found() {
        let known = known();
        let text =
            "Environment=CORE314_LISTN=1\n# CORE314__SHUTDOWN__GRACE=3 and CORE314__LOG__FORMAT, CORE314_LISTEN\n";
        let lines: Vec<usize> = check_variables("x", text, &known).iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [1, 2]);
        assert_eq!(check_keys("x", "[log]\nformat = \"json\"\nfiltre = 1\n", &known).len(), 1);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(check_command("x", &words("serve"), &known).is_none());
        assert!(check_command("x", &words("server"), &known).is_some());
        assert!(check_command("x", &words("serve --no-such"), &known).is_some());
        assert_eq!(check_pod("x", &Value::Null).len(), 10);
    }
}
