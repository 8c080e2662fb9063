//! The matrix of credentials: who is let in, as whom, and who is not.

use actix_web::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_domain::ids::TenantId;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use crate::http::settings::KeyDigest;

const SECRET: &str = "a secret of at least thirty-two bytes";
const KEY: &str = "platform-key";
const USER: UserId = UserId(Uuid::from_u128(7));
const OTHER: UserId = UserId(Uuid::from_u128(8));
const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(9));

fn keys() -> Keys {
    let service_key_sha256 = vec![KeyDigest::of("another-key"), KeyDigest::of(KEY)];
    let settings = AuthSettings { service_key_sha256, jwt_secret: SECRET.to_owned(), jwt_leeway_seconds: 0 };
    Keys::new(&settings, no_limit())
}

fn no_limit() -> Arc<RateLimit> {
    Arc::new(RateLimit::new(crate::http::RateLimitSettings::default()))
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn identify(token: &str) -> Result<Identity, Problem> {
    keys().identify(&headers(&[("authorization", &format!("Bearer {token}"))])).map(|credential| credential.identity)
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

#[test]
fn a_user_token_says_who_where_and_as_what() {
    let expected = Identity::User { user: USER, organization: Some(ORGANIZATION), role: Role::Operator };
    assert_eq!(identify(&token(&claims())), Ok(expected));
    let viewer = Identity::User { user: USER, organization: Some(ORGANIZATION), role: Role::Viewer };
    assert_eq!(identify(&token(&without("role"))), Ok(viewer));
    let own = Identity::User { user: USER, organization: None, role: Role::Admin };
    assert_eq!(identify(&token(&without("org"))), Ok(own));
}

#[test]
fn forged_expired_and_odd_tokens_are_refused() {
    let good = token(&claims());
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let refused = [
        ("expired", token(&with("exp", json!(get_current_timestamp() - 1)))),
        ("no expiry", token(&without("exp"))),
        ("expiry as text", token(&with("exp", json!("never")))),
        ("negative expiry", token(&with("exp", json!(-1)))),
        ("not yet valid", token(&with("nbf", json!(get_current_timestamp() + 600)))),
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
        ("a key of its own", with_header(&good, r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#)),
        ("no signature", unsigned.clone()),
        ("two parts", unsigned.trim_end_matches('.').to_owned()),
        ("garbage", "a.b.c".to_owned()),
        ("not a token", "password".to_owned()),
    ];
    for (what, token) in refused {
        match identify(&token) {
            Err(Problem::Unauthenticated { invalid: true, .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn claims_that_were_changed_after_signing_are_refused() {
    let good = token(&claims());
    let mut parts = good.split('.');
    let (header, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
    let forged = format!("{header}.{}.{signature}", BASE64.encode(with("role", json!("admin")).to_string()));
    assert!(identify(&forged).is_err());
}

#[test]
fn without_a_configured_secret_no_token_is_valid() {
    let keys = Keys::new(
        &AuthSettings { service_key_sha256: vec![KeyDigest::of(KEY)], ..AuthSettings::default() },
        no_limit(),
    );
    let bearer = |token: &str| keys.identify(&headers(&[("authorization", &format!("Bearer {token}"))]));
    assert!(bearer(&signed(&claims(), Algorithm::HS256, "")).is_err());
    assert!(bearer(KEY).is_ok());
}

#[test]
fn the_authorization_header_is_read_as_its_rfc_says() {
    let keys = keys();
    let with = |values: &[&str]| {
        let pairs: Vec<(&str, &str)> = values.iter().map(|value| ("authorization", *value)).collect();
        keys.identify(&headers(&pairs))
    };
    assert!(with(&["bearer platform-key"]).is_ok());
    assert!(matches!(with(&[]), Err(Problem::Unauthenticated { invalid: false, .. })));
    for values in
        [&["Basic cGxhdGZvcm0ta2V5"][..], &["Bearer"], &["Bearer "], &["platform-key"], &["Bearer platform-kex"]]
    {
        assert!(matches!(with(values), Err(Problem::Unauthenticated { invalid: true, .. })), "{values:?}");
    }
    assert!(with(&["Bearer platform-key", "Bearer platform-key"]).is_err());
}

fn service() -> Identity {
    identify(KEY).expect("a known key")
}

#[test]
fn a_service_key_acts_for_whom_header_or_body_name() {
    let user = USER.to_string();
    let by_header = service().act(&headers(&[("x-user-id", &user)]), None).expect("named");
    let by_body = service().act(&headers(&[]), Some(USER)).expect("named");
    assert_eq!(by_header, by_body);
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
    let user = || identify(&token(&claims())).expect("valid");
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
fn roles_include_those_below_them() {
    let holder = |role| Identity::User { user: USER, organization: Some(ORGANIZATION), role };
    let roles = [Role::Viewer, Role::Operator, Role::Admin];
    for (have, role) in roles.into_iter().enumerate() {
        for (need, needed) in roles.into_iter().enumerate() {
            assert_eq!(holder(role).allows(needed).is_ok(), have >= need, "{role:?} for {needed:?}");
        }
    }
    assert!(service().allows(Role::Admin).is_ok());
}
