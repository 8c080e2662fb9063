//! What clients should not send.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::generate::Source;

/// Stands in a body where a text follows that no `Value` can hold.
const RAW: &str = "@raw@";

/// Texts of JSON that no `Value` can hold, or none that comes back the same.
const RAW_VALUES: [&str; 12] = [
    "1e400",
    "-1e400",
    "-0",
    "1E+2",
    "0.1e-400",
    "123456789012345678901234567890123456789012",
    "NaN",
    "Infinity",
    r#""\ud800""#,
    r#""\u0000""#,
    "{\"a\":1,\"a\":2}",
    "01",
];

const NUMBERS: [f64; 14] = [
    -1.0,
    -0.0,
    0.0,
    0.5,
    1.0,
    11.0,
    256.0,
    65_536.0,
    2_147_483_648.0,
    9_007_199_254_740_993.0,
    1e19,
    -1e19,
    1e308,
    5e-324,
];

/// Odd values for a path or a query, percent-encoded where a request line needs it.
pub const ODD_WORDS: [&str; 34] = [
    "",
    "%00",
    "%ff%fe",
    "%zz",
    "%",
    "%f0%9f%a6%80",
    "%e2%80%ae",
    "a%0d%0ab",
    "%2f..%2f..%2fetc",
    "x%2fy",
    "null",
    "-1",
    "0",
    "00",
    "+1",
    "1e3",
    "1e400",
    "NaN",
    "18446744073709551616",
    "-9223372036854775808",
    "9223372036854775807",
    "9223372036854775808",
    "0x10",
    "1.5",
    "true",
    "TRUE",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "AAAAAAAAAAAAAAAAAAAAAA",
    "_____________________w",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:60Z",
    "%2B10000-01-01T00:00:00Z",
    "0000-01-01T00:00:00-23:59",
];

/// Odd values of a header.
pub const ODD_HEADERS: [&[u8]; 14] = [
    b"",
    b" ",
    b"\xe9",
    b"\xff\xff",
    b"*",
    b"\"",
    b"W/\"1\"",
    b"\"99999999999999999999\"",
    b"wait",
    b"wait=-1",
    b"wait=99999999999999999999",
    b"wait=\"1",
    b"00000000-0000-0000-0000-000000000000",
    b"a,b;c=\"d",
];

const MEDIA_TYPES: [&str; 8] = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json; charset=utf-16",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/yaml",
    "/",
    "application/cbor",
];

impl Source<'_> {
    /// A body that is hostile in one way, made from one that is not, and its media type.
    pub fn hostile_body(&mut self, good: &Value, media_type: &str) -> (Vec<u8>, String) {
        let mut body = good.clone();
        let same = media_type.to_owned();
        let bytes = match self.rng.random_range(0..12) {
            0..6 => {
                self.spoil(&mut body, 0);
                text_of(&mut body, RAW_VALUES.choose(self.rng).expect("some"))
            }
            6 if body.is_object() => {
                body["unknown_member"] = self.anything(1);
                text_of(&mut body, "")
            }
            7 => {
                let text = body.to_string();
                let doubled = text.strip_prefix('{').map(|rest| format!("{{\"a\":1,\"a\":1,{rest}"));
                doubled.unwrap_or(text).into_bytes()
            }
            8 => {
                let text = body.to_string().into_bytes();
                let cut = self.rng.random_range(0..=text.len());
                text[..cut].to_vec()
            }
            9 => return (body.to_string().into_bytes(), self.one(&MEDIA_TYPES).to_owned()),
            _ => self.whole(),
        };
        (bytes, same)
    }

    /// A body that has nothing of the right one.
    fn whole(&mut self) -> Vec<u8> {
        let nested = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n)).into_bytes();
        match self.rng.random_range(0..12) {
            0 => Vec::new(),
            1 => b"null".to_vec(),
            2 => b"[]".to_vec(),
            3 => b"\xff\xfe\x00{}".to_vec(),
            4 => b"{\"a\":\"\xff\"}".to_vec(),
            5 => b"\xef\xbb\xbf{}".to_vec(),
            6 => nested("[", "]", 20_000),
            7 => nested("{\"a\":", "}", 65),
            8 => format!("[{}0]", "0,".repeat(60_000)).into_bytes(),
            9 => format!("{{\"{}\":1}}", "k".repeat(100_000)).into_bytes(),
            10 => b"{} {}".to_vec(),
            _ => b"a: &a [*a, *a]\nb: !!binary x\n? {}\n".to_vec(),
        }
    }

    /// Changes something somewhere in a value.
    fn spoil(&mut self, value: &mut Value, depth: u32) {
        let goes_on = depth < 6 && self.rng.random_bool(0.75);
        match value {
            Value::Object(members) if goes_on && !members.is_empty() => {
                let names: Vec<String> = members.keys().cloned().collect();
                let name = names.choose(self.rng).expect("not empty");
                if self.rng.random_bool(0.15) {
                    members.remove(name);
                } else {
                    self.spoil(&mut members[name], depth + 1);
                }
            }
            Value::Array(items) if goes_on && !items.is_empty() => {
                let at = self.rng.random_range(0..items.len());
                self.spoil(&mut items[at], depth + 1);
            }
            other => *other = self.odd_value(),
        }
    }

    fn odd_value(&mut self) -> Value {
        match self.rng.random_range(0..9) {
            0 => json!(*NUMBERS.choose(self.rng).expect("some")),
            1 => self.one(&[&json!(i64::MIN), &json!(i64::MAX), &json!(u64::MAX), &json!(0), &json!(-1)]).clone(),
            2 => json!("x".repeat(self.rng.random_range(0..20_000))),
            3 => json!(self.one(&[
                "",
                " ",
                "\u{0}",
                "a\u{1}\u{7f}\u{9f}",
                "\u{202e}\u{feff}",
                "\u{1f980}\u{301}",
                "{{",
                "{{ trigger }}",
                "{% for a in range(1000000000) %}{% endfor %}",
                "'; DROP TABLE x; --",
                "0000-00-00T00:00:00Z",
                "1969-12-31T23:59:59Z",
                "99999-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999999999999Z",
                "2026-02-30",
                "00000000-0000-0000-0000-000000000000",
            ])),
            4 => (0..self.rng.random_range(0..2_000)).map(|_| json!({})).collect(),
            5 => (0..70).fold(json!(1), |inner, _| json!([inner])),
            6 => json!(RAW),
            _ => self.anything(1),
        }
    }

    /// Odd names and values after a query.
    pub fn odd_query(&mut self, names: &[String]) -> String {
        let name = |source: &mut Self| match names.choose(source.rng) {
            Some(name) if source.rng.random_bool(0.85) => name.clone(),
            _ => (*["unknown", "", "%00", "limit", "a%ffb"].choose(source.rng).expect("some")).to_owned(),
        };
        let count = self.rng.random_range(1..4);
        let pairs: Vec<String> =
            (0..count).map(|_| format!("{}={}", name(self), ODD_WORDS.choose(self.rng).expect("some"))).collect();
        pairs.join("&")
    }
}

/// The body as text. Where it would wait long for a run's end, it does not: that is no fault, and takes its time.
fn text_of(body: &mut Value, raw: &str) -> Vec<u8> {
    if body.is_object() && body["wait_seconds"].as_f64().is_some_and(|seconds| (2.0..=300.0).contains(&seconds)) {
        body["wait_seconds"] = json!(1);
    }
    body.to_string().replace(&format!("\"{RAW}\""), raw).into_bytes()
}
