//! Arguments that several commands share, so that they are spelled the same everywhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::Value;
use uuid::Uuid;

use super::outcome::{Exit, Failure};

/// No file that is given as an argument is larger.
const MOST_BYTES: u64 = 16 << 20;

/// How much of a list.
#[derive(Debug, Args)]
pub struct Limit {
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub limit: usize,
}

/// One row.
#[derive(Debug, Args)]
pub struct Id {
    /// Its id, as the list shows it.
    pub id: Uuid,
}

/// One of a closed set of words, which help and shell completion then show.
pub fn word<T>(all: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all).try_map(|word| word.parse::<T>())
}

/// Filters of a list, as its query.
pub type Query = Vec<(&'static str, String)>;

/// The filters that were given.
pub fn query<const N: usize>(filters: [(&'static str, Option<String>); N]) -> Query {
    filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The text of a file, or of the standard input for `-`.
pub fn read_text(path: &Path) -> io::Result<String> {
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    let mut text = String::new();
    source.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("has more than {MOST_BYTES} bytes")));
    }
    Ok(text)
}

/// The text of a flag that takes `TEXT|@FILE`, where `@-` is the standard input.
pub fn text_or_file(flag: &str, given: &str) -> Result<String, Failure> {
    match given.strip_prefix('@') {
        Some(path) => {
            read_text(Path::new(path)).map_err(|error| Failure::new(Exit::Usage, format!("{flag} @{path}: {error}")))
        }
        None => Ok(given.to_owned()),
    }
}

/// The JSON object of a flag that takes `JSON|@FILE`.
pub fn object(flag: &str, given: &str) -> Result<Value, Failure> {
    let value = json(flag, given)?;
    if value.is_object() { Ok(value) } else { Err(no_json(flag, "must be a JSON object")) }
}

/// The JSON, of whatever kind, of a flag that takes `JSON|@FILE`.
pub fn json(flag: &str, given: &str) -> Result<Value, Failure> {
    serde_json::from_str(&text_or_file(flag, given)?).map_err(|error| no_json(flag, &format!("is no JSON: {error}")))
}

fn no_json(flag: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{flag} {why}"))
        .hint(format!("such as {flag} '{{\"host\": \"web-1\"}}', or {flag} @FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_given_or_in_a_file() {
        assert_eq!(object("--input", "{\"a\": 1}").unwrap(), json!({"a": 1}));
        assert_eq!(super::json("--payload", "[1]").unwrap(), json!([1]), "of any kind");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"b\": 2}").unwrap();
        assert_eq!(object("--input", &format!("@{}", file.path().display())).unwrap(), json!({"b": 2}));
        for (given, words) in [("[1]", "JSON object"), ("{", "no JSON"), ("@/nonexistent", "@/nonexistent: ")] {
            let failure = object("--input", given).expect_err(given);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn a_file_without_end_is_refused() {
        assert!(read_text(Path::new("/dev/zero")).unwrap_err().to_string().contains("more than 16777216 bytes"));
    }

    #[test]
    fn only_the_given_filters_are_sent() {
        assert_eq!(query([("a", None), ("b", Some("1".to_owned()))]), [("b", "1".to_owned())]);
    }
}
