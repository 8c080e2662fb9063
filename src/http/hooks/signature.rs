//! Checking a delivery's signature: over the raw bytes, in constant time, within its window.

use actix_web::http::header::HeaderMap;
use base64::Engine as _;
use core314_domain::hex::hex;
use core314_domain::webhook::{Algorithm, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::scheme::{IdAt, LENIENT_BASE64, Scheme, TimestampAt};

/// The most parts that a header's list may have; more are not looked at.
const MAX_PARTS: usize = 32;

/// What a good signature says of its delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    /// The provider's name of the delivery, where a header has it.
    pub id: Option<String>,
    /// Where the time of sending is signed: a digest of the signature. The same request sent again has the same, a
    /// provider's own repetition has another.
    pub replay: Option<String>,
}

/// The proof, if one of the secrets signed this delivery, within its window. Each secret and each signature that is
/// given is tried, whichever fits.
pub fn check(scheme: &Scheme, secrets: &[Vec<u8>], headers: &HeaderMap, body: &[u8], now_s: i64) -> Option<Proof> {
    let given = one(headers, &scheme.header)?;
    let parts: Vec<&str> = match scheme.separator {
        Some(separator) => given.split(separator).map(str::trim).take(MAX_PARTS).collect(),
        None => vec![given.trim()],
    };
    let timestamp = match &scheme.timestamp {
        None => None,
        Some(TimestampAt::Header(name)) => Some(one(headers, name)?),
        Some(TimestampAt::Part(prefix)) => Some(parts.iter().find_map(|part| part.strip_prefix(&**prefix))?),
    };
    let id = match &scheme.id {
        Some(IdAt::Header(name)) => one(headers, name),
        Some(IdAt::Member(_)) | None => None,
    };
    if scheme.signed.contains("{id}") && id.is_none() {
        return None;
    }
    if let Some(timestamp) = timestamp {
        let sent_s: i64 = timestamp.parse().ok()?;
        if now_s.abs_diff(sent_s) > u64::from(scheme.tolerance_seconds) {
            return None;
        }
    }
    let signatures = parts.iter().filter_map(|part| part.strip_prefix(&*scheme.prefix));
    let signatures: Vec<Vec<u8>> = signatures.filter_map(|text| decode(scheme.encoding, text)).collect();
    let message = Message { scheme, timestamp: timestamp.unwrap_or_default(), id: id.unwrap_or_default(), body };
    let mut is_good = Choice::from(0);
    let mut replay = None;
    for secret in secrets {
        let expected = message.sign(&key(scheme, secret));
        for signature in &signatures {
            is_good |= expected.ct_eq(signature);
        }
        if bool::from(is_good) && timestamp.is_some() && replay.is_none() {
            replay = Some(hex(&Sha256::digest(&expected)));
        }
    }
    bool::from(is_good).then(|| Proof { id: id.map(str::to_owned), replay })
}

/// Does the work of a check for a webhook that does not exist.
pub fn pretend(body: &[u8]) {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"nobody").expect("HMAC takes keys of any length");
    mac.update(body);
    std::hint::black_box(mac.finalize().into_bytes());
}

/// A header that is given once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The bytes that sign.
fn key(scheme: &Scheme, secret: &[u8]) -> Vec<u8> {
    if !scheme.is_base64_key {
        return secret.to_vec();
    }
    let text = secret.strip_prefix(b"whsec_").unwrap_or(secret);
    // Checked when the webhook was made; what cannot be read signs nothing that anybody could have sent.
    LENIENT_BASE64.decode(text).unwrap_or_else(|_| secret.to_vec())
}

struct Message<'a> {
    scheme: &'a Scheme,
    timestamp: &'a str,
    id: &'a str,
    body: &'a [u8],
}

impl Message<'_> {
    fn sign(&self, key: &[u8]) -> Vec<u8> {
        match self.scheme.algorithm {
            Algorithm::Sha1 => self.mac(Hmac::<Sha1>::new_from_slice(key)),
            Algorithm::Sha256 => self.mac(Hmac::<Sha256>::new_from_slice(key)),
            Algorithm::Sha512 => self.mac(Hmac::<Sha512>::new_from_slice(key)),
        }
    }

    fn mac<M: Mac, E: std::fmt::Debug>(&self, mac: Result<M, E>) -> Vec<u8> {
        let mut mac = mac.expect("HMAC takes keys of any length");
        let mut rest: &str = &self.scheme.signed;
        while let Some(open) = rest.find('{') {
            mac.update(&rest.as_bytes()[..open]);
            let from = &rest[open..];
            let known =
                [("{body}", self.body), ("{timestamp}", self.timestamp.as_bytes()), ("{id}", self.id.as_bytes())];
            let (name, value) = known.into_iter().find(|(name, _)| from.starts_with(name)).unwrap_or(("{", b"{"));
            mac.update(value);
            rest = &from[name.len()..];
        }
        mac.update(rest.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Base64 => LENIENT_BASE64.decode(text).ok(),
        Encoding::Hex => {
            if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use core314_domain::webhook::Verification;
    use serde_json::{Value, json};

    use super::*;

    /// A delivery as a provider's documentation shows it.
    struct Sample {
        scheme: Scheme,
        secret: &'static str,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
        now_s: i64,
    }

    impl Sample {
        fn check(&self) -> Option<Proof> {
            let mut request = TestRequest::post();
            for (name, value) in &self.headers {
                request = request.append_header((*name, value.as_str()));
            }
            let request = request.to_http_request();
            let secrets = [b"another".to_vec(), self.secret.as_bytes().to_vec()];
            check(&self.scheme, &secrets, request.headers(), self.body.as_bytes(), self.now_s)
        }

        fn with(mut self, name: &str, value: &str) -> Self {
            let known = self.headers.iter_mut().find(|(known, _)| *known == name).expect("it has this header");
            known.1 = value.to_owned();
            self
        }
    }

    fn scheme(verification: Verification, options: &Value) -> Scheme {
        Scheme::of(verification, options).expect("it signs")
    }

    /// The example of the standard's reference libraries.
    fn standard_webhooks() -> Sample {
        Sample {
            scheme: scheme(Verification::StandardWebhooks, &json!({})),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            headers: vec![
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
                ("webhook-timestamp", "1614265330".to_owned()),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
            ],
            body: r#"{"test": 2432232314}"#,
            now_s: 1_614_265_330,
        }
    }

    /// The example of "Validating webhook deliveries".
    fn github() -> Sample {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        Sample {
            scheme: scheme(Verification::Github, &json!({})),
            secret: "It's a Secret to Everybody",
            headers: vec![
                ("x-hub-signature-256", signature.to_owned()),
                ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned()),
            ],
            body: "Hello, World!",
            now_s: 1,
        }
    }

    /// The example of "Verifying requests from Slack".
    fn slack() -> Sample {
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        Sample {
            scheme: scheme(Verification::Slack, &json!({})),
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            headers: vec![
                ("x-slack-request-timestamp", "1531420618".to_owned()),
                ("x-slack-signature", signature.to_owned()),
            ],
            body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
            now_s: 1_531_420_618,
        }
    }

    /// Stripe's form, signed as its documentation says.
    fn stripe() -> Sample {
        let (secret, body, at) = ("whsec_test_secret", r#"{"id": "evt_1", "object": "event"}"#, 1_492_774_577);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(format!("{at}.{body}").as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let old = "6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39";
        Sample {
            scheme: scheme(Verification::Hmac, &json!({"preset": "stripe"})),
            secret,
            headers: vec![("stripe-signature", format!("t={at},v1={old},v1={signature},v0={old}"))],
            body,
            now_s: at,
        }
    }

    #[test]
    fn the_published_examples_are_good() {
        let proof = standard_webhooks().check().expect("good");
        assert_eq!(proof.id.as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        let proof = github().check().expect("good");
        assert_eq!((proof.id.as_deref(), proof.replay), (Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"), None));
        assert!(slack().check().expect("good").replay.is_some());
        assert!(stripe().check().expect("good").replay.is_some());
    }

    #[test]
    fn a_changed_body_or_secret_is_refused() {
        for sample in [standard_webhooks, github, slack, stripe] {
            assert_eq!(Sample { body: "other", ..sample() }.check(), None);
            assert_eq!(Sample { secret: "other", ..sample() }.check(), None);
            assert_eq!(Sample { headers: Vec::new(), ..sample() }.check(), None);
            let mut twice = sample();
            twice.headers.extend(sample().headers);
            assert_eq!(twice.check(), None, "which of them is meant is not known");
        }
        assert_eq!(standard_webhooks().with("webhook-id", "msg_other").check(), None, "the id is signed");
        assert_eq!(standard_webhooks().with("webhook-timestamp", "1614265331").check(), None, "and the time");
        assert_eq!(github().with("x-hub-signature-256", "sha256=").check(), None);
        assert_eq!(github().with("x-hub-signature-256", "sha256=7é").check(), None);
    }

    #[test]
    fn a_delivery_is_good_for_five_minutes_in_either_direction() {
        for sample in [standard_webhooks, slack, stripe] {
            let sent_s = sample().now_s;
            for (now_s, is_good) in
                [(sent_s - 301, false), (sent_s - 300, true), (sent_s + 300, true), (sent_s + 301, false)]
            {
                assert_eq!(Sample { now_s, ..sample() }.check().is_some(), is_good, "{}", now_s - sent_s);
            }
        }
        for bad in ["", "x", "99999999999999999999", "1531420618.5"] {
            assert_eq!(slack().with("x-slack-request-timestamp", bad).check(), None, "{bad}");
        }
    }

    #[test]
    fn one_of_several_signatures_is_enough() {
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let list = format!("v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,bm90aGluZw== {good}");
        assert!(standard_webhooks().with("webhook-signature", &list).check().is_some());
        let late = format!("{}{good}", "v1,AAAA ".repeat(MAX_PARTS));
        assert_eq!(standard_webhooks().with("webhook-signature", &late).check(), None, "a list is bounded");
    }

    #[test]
    fn other_algorithms_and_encodings_are_computed() {
        // RFC 2202 and RFC 4231, test case 2.
        let (secret, body) = ("Jefe", "what do ya want for nothing?");
        let sha512 = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        for (algorithm, signature) in [("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"), ("sha512", sha512)] {
            let form = json!({"header": "x-signature", "algorithm": algorithm});
            let headers = vec![("x-signature", signature.to_owned())];
            let sample = Sample { scheme: scheme(Verification::Hmac, &form), secret, headers, body, now_s: 1 };
            assert!(sample.check().is_some(), "{algorithm}");
            let form = json!({"header": "x-signature", "algorithm": algorithm, "encoding": "base64"});
            let base64 = LENIENT_BASE64.encode(decode(Encoding::Hex, signature).expect("hexadecimal"));
            let sample = Sample { scheme: scheme(Verification::Hmac, &form), ..sample }.with("x-signature", &base64);
            assert!(sample.check().is_some(), "{algorithm} in base64");
        }
    }
}
