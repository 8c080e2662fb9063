//! A JSON Web Key Set (RFC 7517): the public keys of whoever issues user tokens.
//!
//! Each key verifies one algorithm, pinned here by the key's type: RSA does RS256, P-256 does ES256, Ed25519 does `EdDSA`.
//! What a token says of its algorithm only chooses among the keys; it never changes how a key is used, so that no public
//! key can be taken for a secret. Symmetric keys and keys for encryption are left out.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys that a set may have.
const MOST_KEYS: usize = 32;
/// Digits of an RSA modulus in base64: 2,048 to 4,096 bits, which is what the verifier takes.
const RSA_MODULUS_CHARS: std::ops::RangeInclusive<usize> = 342..=683;

/// Keys that verify.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

/// One key and what it verifies.
#[derive(Debug)]
pub struct VerifyingKey {
    id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The usable keys of a document. An error says why there is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        if document.keys.len() > MOST_KEYS {
            return Err(format!("it has {} keys, at most {MOST_KEYS} are read", document.keys.len()));
        }
        // A key of a kind that this program does not know is somebody else's business.
        let keys = document.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<VerifyingKey> = keys.filter_map(|jwk| usable(&jwk)).collect();
        if keys.is_empty() {
            return Err("it has no key for RS256 (of at least 2048 bits), ES256 or EdDSA".to_owned());
        }
        Ok(Self { keys })
    }

    /// Whether there is a key of this name.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that may have signed a token of this algorithm: the named one, or any where the token names none.
    pub fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        self.keys.iter().filter(move |key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id))
    }
}

fn usable(jwk: &Jwk) -> Option<VerifyingKey> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if RSA_MODULUS_CHARS.contains(&rsa.n.len()) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let declared = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        _ => KeyAlgorithm::EdDSA,
    };
    let common = &jwk.common;
    let is_declared = common.key_algorithm.is_none_or(|named| named == declared);
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !(is_declared && signs && verifies) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(VerifyingKey { id: common.key_id.clone(), algorithm, key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SET: &[u8] = include_bytes!("../../../tests/keys/jwks.json");

    fn document() -> Value {
        serde_json::from_slice(SET).unwrap()
    }

    fn parse(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn each_type_of_key_verifies_its_own_algorithm_alone() {
        let set = KeySet::parse(SET).expect("usable");
        for (id, algorithm) in [("rsa", Algorithm::RS256), ("ec", Algorithm::ES256), ("ed", Algorithm::EdDSA)] {
            assert!(set.has(id));
            assert_eq!(set.candidates(Some(id), algorithm).count(), 1, "{id}");
            assert_eq!(set.candidates(None, algorithm).count(), 1, "{id}");
            for other in [Algorithm::HS256, Algorithm::RS512, Algorithm::PS256, Algorithm::ES384] {
                assert_eq!(set.candidates(Some(id), other).count(), 0, "{id} {other:?}");
            }
        }
        assert_eq!(set.candidates(Some("ec"), Algorithm::RS256).count(), 0);
        assert!(!set.has("nobody"));
    }

    #[test]
    fn keys_for_other_purposes_are_left_out() {
        let rsa = document()["keys"][0].clone();
        let with = |name: &str, value: Value| {
            let mut key = rsa.clone();
            key[name] = value;
            key
        };
        assert!(parse(std::slice::from_ref(&rsa)).is_ok());
        for key in [
            with("use", json!("enc")),
            with("alg", json!("RS512")),
            with("alg", json!("HS256")),
            with("key_ops", json!(["encrypt"])),
            with("n", json!("AQAB")),
            with("n", json!("A".repeat(2_000))),
            with("n", json!("not base64!".repeat(40))),
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "rsa"}),
            json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
            json!({"kty": "from another world"}),
            json!(7),
        ] {
            assert!(parse(std::slice::from_ref(&key)).is_err(), "{key}");
            assert!(parse(&[key, rsa.clone()]).is_ok(), "and it spoils no other");
        }
    }

    #[test]
    fn what_is_no_set_or_too_large_says_so() {
        for (text, words) in
            [("", "no JSON Web Key Set"), ("[]", "no JSON Web Key Set"), ("{\"keys\": []}", "no key for")]
        {
            let error = KeySet::parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
        let error = parse(&vec![document()["keys"][0].clone(); MOST_KEYS + 1]).expect_err("too many");
        assert!(error.contains("at most 32"), "{error}");
    }
}
