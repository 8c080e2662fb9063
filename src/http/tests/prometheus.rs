//! A strict reader of the Prometheus text format: what Prometheus itself would refuse, and what its linter complains of,
//! panics with the line.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::{BTreeMap, BTreeSet};

/// One metric with all its samples.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Reads a page.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current: Option<(String, Family)> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            if let Some((name, family)) = current.take() {
                families.insert(name, family);
            }
            let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(is_name(name, true) && !words.is_empty(), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).and_then(|l| l.split_once(' '));
            let (typed, kind) = kind.unwrap_or_else(|| panic!("TYPE follows HELP: {line}"));
            assert_eq!(typed, name, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(!families.contains_key(name), "{name} is told twice");
            // The contract names the figures of phases otherwise.
            let is_total = name.ends_with("_total") || name.starts_with("workflow_phase_") && kind == "counter";
            assert_eq!(kind == "counter", is_total, "{name} is a {kind}");
            current = Some((name.to_owned(), Family { kind: kind.to_owned(), samples: Vec::new() }));
        } else {
            let (name, family) = current.as_mut().unwrap_or_else(|| panic!("a sample without HELP and TYPE: {line}"));
            let sample = sample(line);
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let is_own = suffixes.iter().any(|suffix| sample.name == format!("{name}{suffix}"));
            assert!(is_own, "{line} stands under {name}");
            assert!(family.kind == "gauge" || sample.value >= 0.0, "{line}");
            family.samples.push(sample);
        }
    }
    families.extend(current);
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn check(name: &str, family: &Family) {
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        assert!(seen.insert((&sample.name, &sample.labels)), "{name}: a series is told twice: {sample:?}");
    }
    if family.kind == "histogram" {
        check_histogram(name, family);
    }
}

/// Of one histogram: its bounds with their counts, the sum and the count.
type Parts = (Vec<(f64, f64)>, Option<f64>, Option<f64>);

/// Bounds ascend and end with +Inf, counts never fall, and the last one is the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Parts> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        let bound =
            labels.remove("le").map(|le| if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a number") });
        let one = series.entry(labels).or_default();
        match (sample.name.strip_prefix(name).expect("its own"), bound) {
            ("_bucket", Some(bound)) => one.0.push((bound, sample.value)),
            ("_sum", None) => one.1 = Some(sample.value),
            ("_count", None) => one.2 = Some(sample.value),
            _ => panic!("{name}: {sample:?}"),
        }
    }
    for (labels, (buckets, sum, count)) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}{labels:?}: {buckets:?}");
        let last = buckets.last().unwrap_or_else(|| panic!("{name}{labels:?} has no bucket"));
        assert_eq!((last.0, Some(last.1)), (f64::INFINITY, count), "{name}{labels:?}");
        assert!(sum.is_some(), "{name}{labels:?} has no sum");
    }
}

/// `name{label="value",...} number`
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}').unwrap_or_else(|| panic!("not closed: {line}")))),
    };
    assert!(is_name(name, true), "{line}");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    assert!(value.is_finite(), "{line}");
    Sample { name: name.to_owned(), labels, value }
}

fn labels(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert!(is_name(name, false) && !name.starts_with("__"), "{text}");
        let (value, rest) = quoted(rest);
        assert!(found.insert(name.to_owned(), value).is_none(), "{name} is given twice");
        text = rest.strip_prefix(',').unwrap_or(rest);
        assert!(!text.is_empty() || rest.is_empty(), "a comma at the end");
    }
    found
}

/// A label's value up to its closing quotation mark, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("no escape: {other:?}"),
            },
            other => value.push(other),
        }
    }
    panic!("not closed: {text}")
}

fn is_name(name: &str, colons: bool) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[test]
#[should_panic(expected = "told twice")]
fn a_series_that_is_told_twice_is_found() {
    read("# HELP a Words.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n");
}

#[test]
#[should_panic(expected = "(1.0, 2.0)")]
fn a_histogram_that_falls_is_found() {
    read("# HELP a Words.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n");
}
