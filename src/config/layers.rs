//! The layers: each value keeps the name of where it was said.
//!
//! Values of the environment and of flags are text; what text becomes is decided by the key's rule, never by its looks.
//! A key made of digits alone stays a text, whatever a generic reader of environments would make of it.

use std::collections::BTreeMap;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::{ConfigError, DEFAULTS, Inputs, Problem, Setting, display, rules};

/// Environment variables that name a key: what containers use.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("CORE314_LISTEN", "server.listen"),
    ("CORE314_DATA_DIR", "data.dir"),
    ("CORE314_DATABASE_URL", "store.database_url"),
    ("CORE314_DATABASE_OWNER_URL", "store.owner_url"),
    ("CORE314_JWT_SECRET", "auth.jwt_secret"),
    ("CORE314_SERVICE_KEY", "auth.service_key"),
    ("CORE314_SECRET_KEY", "secrets.key"),
    ("CORE314_SECRET_KEY_PREVIOUS", "secrets.previous_key"),
    ("CORE314_LOG", "log.filter"),
    ("OPENAI_API_KEY", "executors.ai.api_key"),
    ("OPENAI_BASE_URL", "executors.ai.base_url"),
];

/// The variable that names the file.
const FILE_VARIABLE: &str = "CORE314_CONFIG";

/// Names that belong to the command line.
const CLIENT_NAMES: &[&str] =
    &[FILE_VARIABLE, "CORE314_SERVER", "CORE314_KEY", "CORE314_USER", "CORE314_ORGANIZATION", "CORE314_OUTPUT"];

/// What orchestrators and test runs set by themselves: Kubernetes names a service's addresses this way.
const FOREIGN_PREFIXES: &[&str] = &["CORE314_PORT", "CORE314_SERVICE_HOST", "CORE314_SERVICE_PORT", "CORE314_TEST_"];

/// One value that was given as text.
struct Layer {
    value: Value,
    key: String,
    source: String,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = self
            .key
            .rsplit('.')
            .fold(self.value.clone(), |inner, part| Value::from(Dict::from([(part.to_owned(), inner)])));
        let dict = dict.into_dict().expect("a key has at least one part");
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// All layers over each other, and what is worth a warning.
pub fn figment(inputs: &Inputs) -> Result<(Figment, Vec<String>), ConfigError> {
    let mut problems = Vec::new();
    let mut figment = Figment::from(Toml::string(DEFAULTS)).select(Profile::Default);
    figment = settings(figment, &inputs.presets, &mut problems);
    if let Some(path) = file(inputs) {
        figment = figment.merge(read_file(&path, &mut problems));
    }
    let (environment, notes) = environment(&inputs.environment);
    figment = settings(figment, &environment, &mut problems);
    figment = settings(figment, &inputs.flags, &mut problems);
    if problems.is_empty() { Ok((figment, notes)) } else { Err(ConfigError(problems)) }
}

/// The file, where one is named.
pub fn file(inputs: &Inputs) -> Option<std::path::PathBuf> {
    let named = || inputs.environment.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
    inputs.file.clone().or_else(|| named().map(|(_, path)| path.into()))
}

/// The file's values, once its keys are known to exist.
fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Figment {
    let source = display(path);
    let mut wrong = |key: &str, message: String| {
        problems.push(Problem { key: key.to_owned(), source: source.clone(), message });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            wrong("the file", format!("cannot be read: {error}"));
            return Figment::new();
        }
    };
    let file = Figment::from(Named { source: source.clone(), toml: text });
    match dictionary(&file) {
        Err(error) => {
            let message = error.0.first().map_or_else(String::new, |problem| problem.message.clone());
            wrong("the file", format!("is no TOML: {message}"));
            Figment::new()
        }
        Ok(dict) => {
            for key in flatten(&dict).keys().filter(|key| rules::rule(key).is_none()) {
                wrong(key, rules::unknown(key));
            }
            file
        }
    }
}

/// A file's text under the name of the file.
struct Named {
    source: String,
    toml: String,
}

impl Provider for Named {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Toml::string(&self.toml).data()
    }
}

/// Lays texts over a configuration, each as what its rule makes of it.
fn settings(mut figment: Figment, settings: &[Setting], problems: &mut Vec<Problem>) -> Figment {
    for Setting { key, text, source } in settings {
        let parsed = rules::rule(key).ok_or_else(|| rules::unknown(key)).and_then(|rule| rule.parse(text));
        match parsed {
            Ok(value) => figment = figment.merge(Layer { value, key: key.clone(), source: source.clone() }),
            Err(message) => problems.push(Problem { key: key.clone(), source: source.clone(), message }),
        }
    }
    figment
}

/// What the environment says, the short names last, and what of it is ignored.
fn environment(variables: &[(String, String)]) -> (Vec<Setting>, Vec<String>) {
    let (mut long, mut short, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (name, text) in variables {
        let source = format!("environment variable {name}");
        if let Some(path) = name.strip_prefix("CORE314__") {
            long.push(Setting { key: path.to_lowercase().replace("__", "."), text: text.clone(), source });
        } else if let Some((_, key)) = SHORT_NAMES.iter().find(|(short, _)| short == name) {
            // An empty variable is how containers leave one out.
            if !text.is_empty() {
                short.push(Setting::new(key, text, source));
            }
        } else if name.starts_with("CORE314_") && !is_known(name) {
            notes
                .push(format!("{name} is not used: keys are CORE314__SECTION__KEY, short names are {}", short_names()));
        }
    }
    long.sort_by(|a, b| a.key.cmp(&b.key));
    long.extend(short);
    (long, notes)
}

fn is_known(name: &str) -> bool {
    CLIENT_NAMES.contains(&name)
        || name == "CORE314_LONG"
        || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn short_names() -> String {
    SHORT_NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The merged values.
pub fn dictionary(figment: &Figment) -> Result<Dict, ConfigError> {
    let unreadable = |error: Error| {
        let source = error.metadata.as_ref().map_or_else(String::new, |metadata| metadata.name.to_string());
        ConfigError(vec![Problem { key: error.path.join("."), source, message: error.kind.to_string() }])
    };
    figment.data().map_err(unreadable).map(|mut profiles| profiles.remove(&Profile::Default).unwrap_or_default())
}

/// Keys with dots, and their values. A table without keys says nothing.
pub fn flatten(dict: &Dict) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in dict {
        match value.as_dict() {
            Some(inner) => flat.extend(flatten(inner).into_iter().map(|(key, value)| (format!("{name}.{key}"), value))),
            None => drop(flat.insert(name.clone(), value.clone())),
        }
    }
    flat
}

/// Where a key's value was said.
pub fn source(figment: &Figment, key: &str) -> String {
    let name = figment.find_metadata(key).map_or("", |metadata| metadata.name.as_ref());
    if name.is_empty() || name.starts_with("TOML") { "default".to_owned() } else { name.to_owned() }
}
