//! The matrix of credentials: who is let in, as whom, and who is not.

use actix_web::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_domain::ids::TenantId;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of at least thirty-two bytes";
const USER: UserId = UserId(Uuid::from_u128(7));
const OTHER: UserId = UserId(Uuid::from_u128(8));
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(9));

fn settings() -> AuthSettings {
    AuthSettings { jwt_secret: SECRET.to_owned(), ..AuthSettings::default() }
}

/// With the keys of an issuer in place of a secret, or beside it.
fn issued(secret: &str) -> UserTokens {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/jwks.json").to_owned();
    tokens(&AuthSettings { jwt_secret: secret.to_owned(), jwks_file: file, ..AuthSettings::default() })
}

fn tokens(settings: &AuthSettings) -> UserTokens {
    UserTokens::new(settings).expect("usable")
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

async fn verify(token: &str) -> Result<Identity, Problem> {
    tokens(&settings()).verify(token).await
}

fn claims() -> Value {
    json!({"sub": USER, "org": ORGANIZATION, "role": "operator", "exp": get_current_timestamp() + 600})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(claims: &Value) -> String {
    signed(claims, Algorithm::HS256, SECRET)
}

/// The token with another header before its claims and signature.
fn with_header(token: &str, header: &str) -> String {
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", BASE64.encode(header))
}

#[tokio::test]
async fn a_user_token_says_who_where_and_as_what() {
    let expected = Identity::User { user: USER, organization: Some(ORGANIZATION), role: Role::Operator };
    assert_eq!(verify(&token(&claims())).await, Ok(expected.clone()));
    let viewer = Identity::User { user: USER, organization: Some(ORGANIZATION), role: Role::Viewer };
    assert_eq!(verify(&token(&without("role"))).await, Ok(viewer));
    let own = Identity::User { user: USER, organization: None, role: Role::Admin };
    assert_eq!(verify(&token(&without("org"))).await, Ok(own));
    for (id, algorithm, key) in issuer_keys() {
        for kid in [Some(id), None] {
            assert_eq!(issued("").verify(&sealed(&claims(), algorithm, kid, &key)).await, Ok(expected.clone()), "{id}");
        }
    }
    assert_eq!(issued(SECRET).verify(&token(&claims())).await, Ok(expected), "the secret stays in force beside them");
}

/// Each private key whose public half the issuer publishes.
fn issuer_keys() -> [(&'static str, Algorithm, EncodingKey); 3] {
    [
        ("rsa", Algorithm::RS256, EncodingKey::from_rsa_der(include_bytes!("../../../tests/keys/rsa.der"))),
        ("ec", Algorithm::ES256, EncodingKey::from_ec_der(include_bytes!("../../../tests/keys/ec.der"))),
        ("ed", Algorithm::EdDSA, EncodingKey::from_ed_der(include_bytes!("../../../tests/keys/ed.der"))),
    ]
}

fn sealed(claims: &Value, algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    encode(&Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }, claims, key).unwrap()
}

fn assert_refused(what: &str, outcome: &Result<Identity, Problem>) {
    assert!(matches!(outcome, Err(Problem::Unauthenticated { invalid: true, .. })), "{what}: {outcome:?}");
}

#[tokio::test]
async fn forged_expired_and_odd_tokens_are_refused() {
    let good = token(&claims());
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let refused = [
        ("expired", token(&with("exp", json!(get_current_timestamp() - 1)))),
        ("no expiry", token(&without("exp"))),
        ("expiry as text", token(&with("exp", json!("never")))),
        ("negative expiry", token(&with("exp", json!(-1)))),
        ("not yet valid", token(&with("nbf", json!(get_current_timestamp() + 600)))),
        ("not yet valid, as text", token(&with("nbf", json!("soon")))),
        ("no user", token(&without("sub"))),
        ("a user that is no UUID", token(&with("sub", json!("root")))),
        ("the nil user", token(&with("sub", json!(Uuid::nil())))),
        ("an organization that is no UUID", token(&with("org", json!("x")))),
        ("the nil organization", token(&with("org", json!(Uuid::nil())))),
        ("an unknown role", token(&with("role", json!("owner")))),
        ("another secret", signed(&claims(), Algorithm::HS256, "another secret of thirty-two bytes")),
        ("the empty secret", signed(&claims(), Algorithm::HS256, "")),
        ("HS384", signed(&claims(), Algorithm::HS384, SECRET)),
        ("HS512", signed(&claims(), Algorithm::HS512, SECRET)),
        ("alg none", with_header(&unsigned, r#"{"alg":"none","typ":"JWT"}"#)),
        ("alg None", with_header(&unsigned, r#"{"alg":"None"}"#)),
        ("alg none, signed", with_header(&good, r#"{"alg":"none"}"#)),
        ("alg RS256 over HS256", with_header(&good, r#"{"alg":"RS256","typ":"JWT"}"#)),
        ("alg ES256 over HS256", with_header(&good, r#"{"alg":"ES256"}"#)),
        ("alg twice", with_header(&good, r#"{"alg":"none","alg":"HS256"}"#)),
        ("a key of its own", with_header(&good, r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#)),
        ("no signature", unsigned.clone()),
        ("two parts", unsigned.trim_end_matches('.').to_owned()),
        ("garbage", "a.b.c".to_owned()),
        ("not a token", "password".to_owned()),
    ];
    for (what, token) in refused {
        assert_refused(what, &verify(&token).await);
    }
}

/// Signed as it should be, so that nothing but the header's words can be what is refused.
#[tokio::test]
async fn critical_extensions_are_refused_in_a_token_that_is_otherwise_good() {
    let critical = |words: Option<Vec<String>>| {
        let header = Header { crit: words, ..Header::new(Algorithm::HS256) };
        encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    };
    assert!(verify(&critical(None)).await.is_ok());
    assert_refused("crit", &verify(&critical(Some(vec!["exp".to_owned()]))).await);
    assert_refused("an empty crit", &verify(&critical(Some(Vec::new()))).await);
}

#[tokio::test]
async fn no_key_of_an_issuer_is_taken_for_another_one() {
    let [(_, _, rsa), (_, _, ec), (_, _, ed)] = issuer_keys();
    let public: Value = serde_json::from_slice(include_bytes!("../../../tests/keys/jwks.json")).unwrap();
    let modulus = public["keys"][0]["n"].as_str().unwrap();
    let hmac = |secret: &[u8]| sealed(&claims(), Algorithm::HS256, Some("rsa"), &EncodingKey::from_secret(secret));
    let good = sealed(&claims(), Algorithm::RS256, Some("rsa"), &rsa);
    let refused = [
        ("the public key as a secret, as it is written", hmac(modulus.as_bytes())),
        ("the public key as a secret, its bytes", hmac(&BASE64.decode(modulus).unwrap())),
        ("the whole set as a secret", hmac(include_bytes!("../../../tests/keys/jwks.json"))),
        ("RS384", sealed(&claims(), Algorithm::RS384, Some("rsa"), &rsa)),
        ("PS256", sealed(&claims(), Algorithm::PS256, Some("rsa"), &rsa)),
        ("a key of nobody", sealed(&claims(), Algorithm::RS256, Some("nobody"), &rsa)),
        ("an empty name", sealed(&claims(), Algorithm::RS256, Some(""), &rsa)),
        ("the name of another key", sealed(&claims(), Algorithm::RS256, Some("ec"), &rsa)),
        ("another key under this name", sealed(&claims(), Algorithm::ES256, Some("rsa"), &ec)),
        ("alg swapped", with_header(&good, r#"{"alg":"HS256","kid":"rsa"}"#)),
        ("alg none", with_header(&good, r#"{"alg":"none","kid":"rsa"}"#)),
        ("expired", sealed(&with("exp", json!(1)), Algorithm::EdDSA, Some("ed"), &ed)),
        ("the nil user", sealed(&with("sub", json!(Uuid::nil())), Algorithm::EdDSA, Some("ed"), &ed)),
        ("a key that it brings along", with_header(&good, r#"{"alg":"RS256","jku":"https://forger.example/keys"}"#)),
    ];
    for secret in ["", SECRET] {
        let tokens = issued(secret);
        assert!(tokens.verify(&good).await.is_ok());
        for (what, token) in &refused {
            assert_refused(what, &tokens.verify(token).await);
        }
    }
    assert_refused("no keys are set up", &verify(&good).await);
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_configured() {
    let strict =
        tokens(&AuthSettings { issuer: "https://id.example".to_owned(), audience: "core314".to_owned(), ..settings() });
    let made = |iss: Value, aud: Value| {
        let mut claims = claims();
        claims["iss"] = iss;
        claims["aud"] = aud;
        token(&claims)
    };
    let (iss, aud) = (json!("https://id.example"), json!("core314"));
    for good in [made(iss.clone(), aud.clone()), made(iss.clone(), json!(["other", "core314"]))] {
        assert!(strict.verify(&good).await.is_ok());
        assert!(verify(&good).await.is_ok(), "nobody asks for them");
    }
    let refused = [
        (json!("https://forger.example"), aud.clone()),
        (json!(null), aud.clone()),
        (json!(7), aud),
        (iss.clone(), json!("other")),
        (iss.clone(), json!([])),
        (iss, json!(null)),
    ];
    for (iss, aud) in refused {
        assert_refused(&format!("{iss} {aud}"), &strict.verify(&made(iss, aud)).await);
    }
    assert_refused("neither", &strict.verify(&token(&claims())).await);
}

#[tokio::test]
async fn claims_that_were_changed_after_signing_are_refused() {
    let good = token(&claims());
    let mut parts = good.split('.');
    let (header, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
    let forged = format!("{header}.{}.{signature}", BASE64.encode(with("role", json!("admin")).to_string()));
    assert!(verify(&forged).await.is_err());
}

#[tokio::test]
async fn without_a_configured_secret_no_token_is_valid() {
    let nothing = tokens(&AuthSettings::default());
    assert_refused("no secret", &nothing.verify(&signed(&claims(), Algorithm::HS256, "")).await);
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_no_fault_of_the_bearer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let away = tokens(&AuthSettings { jwks_url: "http://127.0.0.1:1/keys".to_owned(), ..settings() });
    let [(_, _, rsa), ..] = issuer_keys();
    let outcome = away.verify(&sealed(&claims(), Algorithm::RS256, Some("rsa"), &rsa)).await;
    assert!(matches!(outcome, Err(Problem::KeysUnavailable { .. })), "{outcome:?}");
    assert!(away.verify(&token(&claims())).await.is_ok(), "the secret needs nobody");
    assert_refused("another algorithm", &away.verify(&signed(&claims(), Algorithm::HS512, SECRET)).await);
}

#[test]
fn the_authorization_header_is_read_as_its_rfc_says() {
    let with = |values: &[&str]| {
        let pairs: Vec<(&str, &str)> = values.iter().map(|value| ("authorization", *value)).collect();
        bearer(&headers(&pairs)).map(str::to_owned)
    };
    assert_eq!(with(&["bearer platform-key"]).as_deref(), Ok("platform-key"));
    assert!(matches!(with(&[]), Err(Problem::Unauthenticated { invalid: false, .. })));
    let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1));
    for values in [&["Basic cGxhdGZvcm0ta2V5"][..], &["Bearer"], &["Bearer "], &["platform-key"], &[&long]] {
        assert!(matches!(with(values), Err(Problem::Unauthenticated { invalid: true, .. })), "{values:?}");
    }
    assert!(with(&["Bearer platform-key", "Bearer platform-key"]).is_err());
    assert!(with(&[&long[..long.len() - 1]]).is_ok());
}

fn service() -> Identity {
    Identity::Service { key: "key".to_owned(), role: Role::Admin }
}

fn member() -> Identity {
    Identity::User { user: USER, organization: Some(ORGANIZATION), role: Role::Operator }
}

fn tenant_key(organization: Option<OrganizationId>) -> Identity {
    Identity::TenantKey { key: "key".to_owned(), owner: Owner::new(USER, organization), role: Role::Operator }
}

#[test]
fn a_service_key_acts_for_whom_header_or_body_name() {
    let user = USER.to_string();
    let by_header = service().act(&headers(&[("x-user-id", &user)]), None).expect("named");
    let by_body = service().act(&headers(&[]), Some(USER)).expect("named");
    assert_eq!(by_header, by_body);
    assert_eq!(by_header.by, format!("service:key/user:{USER}"));
    assert_eq!(by_header.owner(), Ok(Owner::new(USER, None)));
    assert_eq!(by_header.scope, Scope::Tenant(TenantId(USER.0)));
    let pairs = [("x-user-id", user.as_str()), ("x-organization-id", &ORGANIZATION.to_string())];
    let member = service().act(&headers(&pairs), Some(USER)).expect("named twice alike");
    assert_eq!(member.scope, Scope::Tenant(TenantId(ORGANIZATION.0)));
}

#[test]
fn a_service_key_that_names_nobody_reads_all_and_writes_nothing() {
    let caller = service().act(&headers(&[]), None).expect("reads");
    assert_eq!(caller.scope, Scope::Platform);
    let problem = caller.owner().expect_err("writes nothing");
    assert!(problem.to_string().contains("X-User-Id"), "{problem}");
    assert!(service().platform_only(&headers(&[])).is_ok());
    assert!(service().platform_only(&headers(&[("x-user-id", &USER.to_string())])).is_err());
}

#[test]
fn ids_that_disagree_or_cannot_be_are_named() {
    let user = USER.to_string();
    let nil = Uuid::nil().to_string();
    let cases = [
        (&[("x-user-id", user.as_str())][..], Some(OTHER)),
        (&[("x-user-id", "me")], None),
        (&[("x-user-id", nil.as_str())], None),
        (&[("x-user-id", &user), ("x-user-id", &user)], None),
        (&[("x-user-id", &user), ("x-organization-id", "us")], None),
        (&[("x-organization-id", &user)], None),
        (&[], Some(UserId(Uuid::nil()))),
    ];
    for (pairs, body) in cases {
        let outcome = service().act(&headers(pairs), body);
        assert!(matches!(outcome, Err(Problem::InvalidRequest(_))), "{pairs:?} {body:?}: {outcome:?}");
    }
}

#[test]
fn a_user_token_cannot_act_for_others() {
    let user = member;
    for pairs in [[("x-user-id", OTHER.to_string())], [("x-organization-id", OTHER.to_string())]] {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert!(matches!(user().act(&headers(&pairs), None), Err(Problem::Forbidden(_))), "{pairs:?}");
    }
    assert!(matches!(user().act(&headers(&[]), Some(OTHER)), Err(Problem::Forbidden(_))));
    assert!(matches!(user().platform_only(&headers(&[])), Err(Problem::Forbidden(_))));
    let own = user().act(&headers(&[("x-organization-id", &ORGANIZATION.to_string())]), Some(USER)).expect("own");
    assert_eq!(own.scope, Scope::Tenant(TenantId(ORGANIZATION.0)));
}

#[test]
fn a_tenant_key_stays_in_its_tenant() {
    let (user, other, organization) = (USER.to_string(), OTHER.to_string(), ORGANIZATION.to_string());
    let act = |of: Option<OrganizationId>, pairs: &[(&str, &str)], body| tenant_key(of).act(&headers(pairs), body);
    let within = Scope::Tenant(TenantId(ORGANIZATION.0));
    let own = act(Some(ORGANIZATION), &[], None).expect("itself");
    assert_eq!(
        (own.scope, own.owner(), own.by.as_str()),
        (within, Ok(Owner::new(USER, Some(ORGANIZATION))), format!("service:key/user:{USER}").as_str())
    );
    for (pairs, body) in
        [(&[("x-user-id", other.as_str())][..], None), (&[("x-organization-id", &organization)], Some(OTHER))]
    {
        let caller = act(Some(ORGANIZATION), pairs, body).expect("a colleague");
        assert_eq!((caller.scope, caller.owner()), (within, Ok(Owner::new(OTHER, Some(ORGANIZATION)))));
        assert_eq!(caller.by, format!("service:key/user:{OTHER}"), "it is they who do it");
    }
    for pairs in [&[("x-organization-id", other.as_str())][..], &[("x-user-id", &other), ("x-organization-id", &other)]]
    {
        assert!(matches!(act(Some(ORGANIZATION), pairs, None), Err(Problem::Forbidden(_))), "{pairs:?}");
        assert!(matches!(act(None, pairs, None), Err(Problem::Forbidden(_))), "{pairs:?}");
    }
    assert!(act(None, &[("x-user-id", &user)], Some(USER)).is_ok());
    assert!(
        matches!(act(None, &[("x-user-id", &other)], None), Err(Problem::Forbidden(_))),
        "it would be another tenant"
    );
    assert!(matches!(act(None, &[], Some(OTHER)), Err(Problem::Forbidden(_))));
    assert!(matches!(act(None, &[("x-organization-id", &organization)], None), Err(Problem::Forbidden(_))));
    assert!(tenant_key(Some(ORGANIZATION)).platform_only(&headers(&[])).is_err());
}

#[test]
fn roles_include_those_below_them() {
    let key = || "key".to_owned();
    let holders = |role| {
        [
            Identity::User { user: USER, organization: Some(ORGANIZATION), role },
            Identity::TenantKey { key: key(), owner: Owner::new(USER, None), role },
            Identity::Service { key: key(), role },
        ]
    };
    let roles = [Role::Viewer, Role::Operator, Role::Admin];
    for (have, role) in roles.into_iter().enumerate() {
        for (need, needed) in roles.into_iter().enumerate() {
            for holder in holders(role) {
                assert_eq!(holder.allows(needed).is_ok(), have >= need, "{holder:?} for {needed:?}");
            }
        }
    }
}
