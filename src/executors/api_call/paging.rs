//! Answers in pages: one attempt asks for page after page and gives their items as one list.
//!
//! Invariants: an attempt asks for no more pages than its payload and the configuration say, and says in `next` where it
//! stopped; a page that leads elsewhere than the first one's service, or to itself, fails.

use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Url;
use serde_json::Value;

use crate::executors::connect::http;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, Reading, kind, scalar};

const KEYS: [&str; 6] = ["by", "items", "next", "parameter", "first", "max_pages"];
const WAYS: [&str; 5] = ["link_header", "next_url", "cursor", "page", "offset"];
/// Pages of an attempt whose payload says nothing.
const PAGES: u64 = 10;

/// Where in its pages an answer is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub url: Url,
    /// Pages and items before it.
    pub pages: u64,
    pub items: u64,
}

/// How a service gives its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// Where in a page's body its items are: a JSON pointer.
    items: String,
    by: By,
    pub max_pages: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    /// `Link: <...>; rel="next"` (RFC 8288).
    LinkHeader,
    /// The body has the next page's URL here.
    NextUrl { next: String },
    /// The body has here what this parameter of the query gets.
    Cursor { next: String, parameter: String },
    /// This parameter counts pages, until one is empty.
    Page { parameter: String, first: u64 },
    /// This parameter counts items, until a page is empty.
    Offset { parameter: String, first: u64 },
}

impl Paging {
    /// Reads it, where the payload has one. `most_pages` is what the configuration allows.
    pub fn read(reader: &mut Reader<'_>, reading: Reading, most_pages: Option<u64>) -> Option<Self> {
        let said = reader.get("paging")?;
        let mut inner = match Reader::new(said, reading) {
            Ok(inner) => inner,
            Err(problems) => {
                reader.problems.extend(problems.into_iter().map(below));
                return None;
            }
        };
        inner.only(&KEYS);
        let paging = Self::of(&mut inner, most_pages);
        let is_sound = inner.problems.is_empty();
        reader.problems.extend(inner.problems.into_iter().map(below));
        paging.filter(|_| is_sound)
    }

    fn of(inner: &mut Reader<'_>, most_pages: Option<u64>) -> Option<Self> {
        if !inner.has("by") {
            inner.problem(&["by"], format!("is required: {}", WAYS.join(", ")));
        }
        let items = inner.pointer("items", "/data/items").unwrap_or_default().to_owned();
        let max_pages = count(inner, "max_pages").unwrap_or(PAGES);
        let most = most_pages.unwrap_or(u64::MAX);
        if max_pages == 0 || (inner.has("max_pages") && max_pages > most) {
            let most = most_pages.map_or_else(|| "1 at least".to_owned(), |most| format!("1 to {most}"));
            inner.problem(&["max_pages"], format!("must be {most}"));
        }
        let next = inner.pointer("next", "/meta/next").map(str::to_owned);
        let parameter = inner.text("parameter").map(str::to_owned);
        let first = count(inner, "first");
        let by = inner.text("by")?;
        let mut needs = |key: &str, value: &Option<String>| {
            if value.is_none() && !inner.has(key) {
                inner.problem(&[key], format!("is required with by {by}"));
            }
            value.clone().unwrap_or_default()
        };
        let by = match by {
            "link_header" => By::LinkHeader,
            "next_url" => By::NextUrl { next: needs("next", &next) },
            "cursor" => By::Cursor { next: needs("next", &next), parameter: needs("parameter", &parameter) },
            "page" => By::Page { parameter: parameter.unwrap_or("page".to_owned()), first: first.unwrap_or(1) },
            "offset" => By::Offset { parameter: parameter.unwrap_or("offset".to_owned()), first: first.unwrap_or(0) },
            other => {
                inner.problem(&["by"], format!("'{other}' is not one of: {}", WAYS.join(", ")));
                return None;
            }
        };
        Some(Self { items, by, max_pages: max_pages.min(most) })
    }

    /// Pages without end.
    #[must_use]
    pub fn unbounded(self) -> Self {
        Self { max_pages: u64::MAX, ..self }
    }

    /// The first page.
    pub fn first(&self, url: &Url) -> Place {
        let url = match &self.by {
            By::Page { parameter, first } | By::Offset { parameter, first } => with(url, parameter, &first.to_string()),
            By::LinkHeader | By::NextUrl { .. } | By::Cursor { .. } => url.clone(),
        };
        Place { url, pages: 0, items: 0 }
    }

    /// The items of a page, taken out of its output.
    pub fn take_items(&self, output: &mut Value) -> Result<Vec<Value>, Failure> {
        match output["body"].pointer_mut(&self.items).map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            found => {
                let found = found.as_ref().map_or("nothing", kind);
                let place = if self.items.is_empty() { "the body" } else { self.items.as_str() };
                Err(Code::UnexpectedAnswer.failure(format!("paging.items: {place} must be a list, is {found}")))
            }
        }
    }

    /// The URL of the page after this one; `None` where this is the last. `pages` and `items` are those so far, `here` those
    /// of this page.
    pub fn next(
        &self,
        page: &Page<'_>,
        endpoint: Option<&str>,
        (pages, items, here): (u64, usize, usize),
    ) -> Result<Option<Url>, Failure> {
        let of_body =
            |next: &str| page.body.pointer(next).and_then(scalar).filter(|text| !text.is_empty() && text != "false");
        let next = match &self.by {
            By::LinkHeader => match link(page.headers["link"].as_str().unwrap_or_default()) {
                Some(text) => Some(leads(page.url, text, endpoint)?),
                None => None,
            },
            By::NextUrl { next } => match of_body(next) {
                Some(text) => Some(leads(page.url, &text, endpoint)?),
                None => None,
            },
            By::Cursor { next, parameter } => of_body(next).map(|cursor| with(page.url, parameter, &cursor)),
            By::Page { parameter, first } => {
                (here > 0).then(|| with(page.url, parameter, &(first + pages).to_string()))
            }
            By::Offset { parameter, first } => {
                (here > 0).then(|| with(page.url, parameter, &(first + items as u64).to_string()))
            }
        };
        if next.as_ref() == Some(page.url) {
            return Err(Code::UnexpectedAnswer.failure("paging: the next page is the page itself"));
        }
        Ok(next)
    }
}

/// A page, without its items.
pub struct Page<'a> {
    pub url: &'a Url,
    pub headers: &'a Value,
    pub body: &'a Value,
}

fn below(problem: Problem) -> Problem {
    Problem { pointer: format!("/paging{}", problem.pointer), ..problem }
}

fn count(reader: &mut Reader<'_>, key: &str) -> Option<u64> {
    let value = reader.get(key)?;
    let number =
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| *number <= 1_000_000_000);
    if number.is_none() {
        reader.problem(&[key], "must be a whole number of at most 1000000000");
    }
    number
}

/// The URL with this parameter, instead of the one that it has.
fn with(url: &Url, parameter: &str, value: &str) -> Url {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != parameter)
        .map(|(n, v)| (n.into_owned(), v.into_owned()))
        .collect();
    let mut next = url.clone();
    next.query_pairs_mut().clear().extend_pairs(others).append_pair(parameter, value);
    next
}

/// Where a page says that the next one is. What opens the first one goes nowhere else.
fn leads(url: &Url, text: &str, endpoint: Option<&str>) -> Result<Url, Failure> {
    let wrong = |why: String| Code::UnexpectedAnswer.failure(format!("paging: the next page {why}"));
    let next = url.join(text).map_err(|error| wrong(format!("has no URL: {error}")))?;
    if let Some(endpoint) = endpoint {
        return http::keep_within(endpoint, next).map_err(wrong);
    }
    let is_plain = next.username().is_empty() && next.password().is_none();
    if next.origin() == url.origin() && is_plain {
        return Ok(next);
    }
    Err(wrong("is on another host".to_owned()))
}

/// The target of `rel="next"` in the values of `Link` headers.
fn link(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('<') {
        let (target, behind) = behind.split_once('>')?;
        let parameters = behind.split('<').next().unwrap_or_default();
        let is_next = parameters.split(';').skip(1).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim());
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn read(paging: Value) -> Result<Paging, Vec<String>> {
        let payload = json!({"paging": paging});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        let found = Paging::read(&mut reader, Reading::Rendered, Some(100));
        let problems: Vec<String> = reader.problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
        found.ok_or(problems)
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn next(paging: Value, headers: Value, body: Value) -> Result<Option<String>, String> {
        let url = Url::parse("https://h/v1/a?x=1&page=1").expect("a URL");
        let page = Page { url: &url, headers: &headers, body: &body };
        let found = read(paging).expect("sound").next(&page, Some("https://h/v1"), (1, 2, 2));
        found.map(|url| url.map(String::from)).map_err(|failure| failure.message)
    }

    #[test]
    fn each_way_leads_to_the_next_page() {
        let link = json!({"link": "<https://h/v1/a?page=1>; rel=\"prev\", <https://h/v1/a?page=2>; rel=\"next\""});
        for (paging, headers, body, expected) in [
            (json!({"by": "link_header"}), link, json!([]), Some("https://h/v1/a?page=2")),
            (json!({"by": "link_header"}), json!({"link": "<b>; rel=last"}), json!([]), None),
            (json!({"by": "next_url", "next": "/n"}), json!({}), json!({"n": "/v1/a?c=2"}), Some("https://h/v1/a?c=2")),
            (json!({"by": "next_url", "next": "/n"}), json!({}), json!({"n": null}), None),
            (
                json!({"by": "cursor", "next": "/m/c", "parameter": "page"}),
                json!({}),
                json!({"m": {"c": "a b"}}),
                Some("https://h/v1/a?x=1&page=a+b"),
            ),
            (json!({"by": "cursor", "next": "/c", "parameter": "c"}), json!({}), json!({"c": ""}), None),
            (json!({"by": "page"}), json!({}), json!([]), Some("https://h/v1/a?x=1&page=2")),
            (json!({"by": "offset"}), json!({}), json!([]), Some("https://h/v1/a?x=1&page=1&offset=2")),
        ] {
            assert_eq!(next(paging.clone(), headers, body), Ok(expected.map(str::to_owned)), "{paging}");
        }
    }

    #[test]
    fn no_page_leads_elsewhere() {
        let by = json!({"by": "next_url", "next": "/n"});
        for (text, expected) in [
            ("https://evil/v1/a", "paging: the next page leaves the integration's endpoint https://h/v1"),
            ("/v2/a", "paging: the next page leaves the integration's endpoint https://h/v1"),
            ("?x=1&page=1", "paging: the next page is the page itself"),
        ] {
            assert_eq!(next(by.clone(), json!({}), json!({"n": text})), Err(expected.to_owned()), "{text}");
        }
        let url = Url::parse("https://h/a").expect("a URL");
        assert!(leads(&url, "https://evil/a", None).is_err() && leads(&url, "b", None).is_ok());
    }

    #[test]
    fn mistakes_are_said() {
        for (paging, expected) in [
            (json!({}), "/paging/by: is required: link_header, next_url, cursor, page, offset"),
            (json!({"by": "x"}), "/paging/by: 'x' is not one of: link_header, next_url, cursor, page, offset"),
            (json!({"by": "next_url"}), "/paging/next: is required with by next_url"),
            (json!({"by": "page", "items": "a"}), "/paging/items: must be a JSON pointer, such as /data/items"),
            (json!({"by": "page", "max_pages": 101}), "/paging/max_pages: must be 1 to 100"),
            (json!([]), "/paging: must be an object, is a list"),
        ] {
            assert_eq!(read(paging), Err(vec![expected.to_owned()]));
        }
    }
}
