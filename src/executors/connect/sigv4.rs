//! AWS Signature Version 4, in the header
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).
//!
//! Every header of the request is signed, so that it is signed last. The query is sent as it is signed. Object stores
//! (`s3`) also want the digest of the body among the headers, and judge the path as it is meant; all other services judge
//! it as it is sent, without empty segments, encoded once more.

use chrono::{DateTime, Utc};
use core314_domain::hex::hex;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::executors::client::Call;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
    /// Such as `execute-api`, `lambda`, `s3`.
    pub service: &'a str,
}

impl Signer<'_> {
    /// Signs a request at a time. An error says which header cannot be sent.
    pub fn sign(&self, call: &mut Call, now: DateTime<Utc>) -> Result<(), String> {
        let digest = hex(&Sha256::digest(&call.body));
        let stamp = now.format("%Y%m%dT%H%M%SZ").to_string();
        put(&mut call.headers, "x-amz-date", &stamp, false)?;
        if self.service == "s3" {
            put(&mut call.headers, "x-amz-content-sha256", &digest, false)?;
        }
        if let Some(token) = self.session_token {
            put(&mut call.headers, "x-amz-security-token", token, true)?;
        }
        let query = canonical_query(&call.url);
        if !query.is_empty() {
            call.url.set_query(Some(&query));
        }
        let (names, headers) = canonical_headers(&call.url, &call.headers)?;
        let request =
            [call.method.as_str(), &self.canonical_path(&call.url), &query, &headers, &names, &digest].join("\n");
        let day = &stamp[..8];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = [ALGORITHM, &stamp, &scope, &hex(&Sha256::digest(request))].join("\n");
        let key = [day, self.region, self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret_access_key).into_bytes(), |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &to_sign));
        let credential = format!("{}/{scope}", self.access_key_id);
        let value = format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}");
        put(&mut call.headers, "authorization", &value, true)
    }

    fn canonical_path(&self, url: &Url) -> String {
        let segments = url.path().split('/').skip(1);
        let segments: Vec<String> = if self.service == "s3" {
            segments.map(|segment| encoded(&decoded(segment))).collect()
        } else {
            let last = url.path().split('/').skip(1).count().saturating_sub(1);
            let is_kept = |(place, segment): &(usize, &str)| !segment.is_empty() || *place == last;
            segments.enumerate().filter(is_kept).map(|(_, segment)| encoded(segment.as_bytes())).collect()
        };
        format!("/{}", segments.join("/"))
    }
}

/// The parameters in the order of their encoded names and values.
fn canonical_query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (encoded(name.as_bytes()), encoded(value.as_bytes()))).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The names of all headers, and the headers, each with a line break.
fn canonical_headers(url: &Url, headers: &HeaderMap) -> Result<(String, String), String> {
    let mut all = vec![("host".to_owned(), host(url))];
    for name in headers.keys() {
        let mut values = Vec::new();
        for value in headers.get_all(name) {
            let text = value.to_str().map_err(|_| format!("the header {name} cannot be signed: it is not ASCII"))?;
            values.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        all.push((name.as_str().to_owned(), values.join(",")));
    }
    all.sort_unstable();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    #[expect(clippy::format_collect, reason = "a few headers")]
    let lines: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    Ok((names.join(";"), lines))
}

/// As the HTTP library sends it: with the port where it is not the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// All but the unreserved characters of RFC 3986.
fn encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

/// What percent-encoding stands for; what is none stays.
fn decoded(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    out
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str, is_secret: bool) -> Result<(), String> {
    let wrong = |_| format!("the value for the header {name} holds a line break or another control character");
    let mut value = HeaderValue::from_str(value).map_err(wrong)?;
    value.set_sensitive(is_secret);
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    fn call(method: Method, url: &str, body: &[u8]) -> Call {
        let url = Url::parse(url).expect("a URL");
        Call {
            method,
            url,
            headers: HeaderMap::new(),
            body: body.to_vec(),
            expected: Vec::new(),
            follow_redirects: true,
        }
    }

    fn signature(call: &Call) -> &str {
        let value = call.headers["authorization"].to_str().expect("ASCII");
        value.rsplit_once("Signature=").expect("a signature").1
    }

    /// The vectors of the test suite that AWS publishes.
    #[test]
    fn the_published_test_suite() {
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: None,
            region: "us-east-1",
            service: "service",
        };
        let now = "2015-08-30T12:36:00Z".parse().expect("a time");
        let url = "https://example.amazonaws.com/";
        for (method, url, form, expected) in [
            (Method::GET, url, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (Method::POST, url, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                Method::GET,
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                Method::GET,
                "https://example.amazonaws.com/?\u{1234}=bar",
                "",
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (Method::POST, url, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            let mut call = call(method, url, form.as_bytes());
            if !form.is_empty() {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                call.headers.insert("content-type", form);
            }
            signer.sign(&mut call, now).expect("signs");
            assert_eq!(signature(&call), expected, "{} {}", call.method, call.url);
            assert!(call.headers["authorization"].is_sensitive());
        }
    }

    /// The example of the documentation of object stores: a part of an object.
    #[test]
    fn the_published_example_of_object_stores() {
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            session_token: None,
            region: "us-east-1",
            service: "s3",
        };
        let mut call = call(Method::GET, "https://examplebucket.s3.amazonaws.com/test.txt", b"");
        call.headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        signer.sign(&mut call, "2013-05-24T00:00:00Z".parse().expect("a time")).expect("signs");
        assert_eq!(signature(&call), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let signer = Signer {
            access_key_id: "a",
            secret_access_key: "b",
            session_token: Some("session"),
            region: "eu-west-1",
            service: "lambda",
        };
        let mut call = call(Method::POST, "http://127.0.0.1:9000/a%20b/c", b"{}");
        signer.sign(&mut call, "2015-08-30T12:36:00Z".parse().expect("a time")).expect("signs");
        assert_eq!(call.headers["x-amz-security-token"], "session");
        let value = call.headers["authorization"].to_str().expect("ASCII");
        assert!(value.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"), "{value}");
        assert_eq!(signer.canonical_path(&call.url), "/a%2520b/c");
        assert_eq!(host(&call.url), "127.0.0.1:9000");
        let path = |service, url| Signer { service, ..signer }.canonical_path(&Url::parse(url).expect("a URL"));
        assert_eq!(path("lambda", "http://h//a//b/"), "/a/b/");
        assert_eq!(path("s3", "http://h//a/b(1)%20c"), "//a/b%281%29%20c");
        assert_eq!((path("s3", "http://h"), path("lambda", "http://h")), ("/".to_owned(), "/".to_owned()));
        let mut call = self::call(Method::GET, "http://h/?q=a+b&p=%2F", b"");
        signer.sign(&mut call, "2015-08-30T12:36:00Z".parse().expect("a time")).expect("signs");
        assert_eq!(call.url.as_str(), "http://h/?p=%2F&q=a%20b", "it is sent as it is signed");
    }
}
