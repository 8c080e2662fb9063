//! Addresses: what one of each kind looks like, and which channel goes there.

use super::ContactKind;

/// RFC 5321, 4.5.3.1: of the whole address, and of the part before the `@`.
const MOST_EMAIL_BYTES: usize = 254;
const MOST_LOCAL_BYTES: usize = 64;
const MOST_URL_BYTES: usize = 2_000;

/// The integration that a message to this kind goes through, unless the contact method names another one: the word of the
/// channel, which an integration may be called by.
pub const fn channel(kind: ContactKind) -> &'static str {
    kind.as_str()
}

/// What is wrong with an address.
pub fn address_problem(kind: ContactKind, address: &str) -> Option<&'static str> {
    let is_good = match kind {
        ContactKind::Email => is_email(address),
        ContactKind::Sms => is_number(address),
        ContactKind::Slack => is_slack_user(address),
        ContactKind::Webhook => is_web(address),
    };
    let expected = match kind {
        ContactKind::Email => "must be an e-mail address, such as ada@example.com",
        ContactKind::Sms => "must be a number in E.164: + and 7 to 15 digits",
        ContactKind::Slack => "must be the id of a Slack member, such as U012AB3CD: their profile shows it",
        ContactKind::Webhook => "must be an http or https URL of at most 2000 bytes, without a user or a fragment",
    };
    (!is_good).then_some(expected)
}

fn is_email(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[]\\,;:\"@".contains(c);
    let has_dots = |part: &str| part.split('.').all(|label| !label.is_empty());
    address.len() <= MOST_EMAIL_BYTES
        && local.len() <= MOST_LOCAL_BYTES
        && [local, domain].iter().all(|part| part.chars().all(is_plain) && has_dots(part))
}

fn is_number(address: &str) -> bool {
    let digits = address.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_slack_user(address: &str) -> bool {
    let is_word = address.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_word && address.starts_with(['U', 'W']) && (9..=21).contains(&address.len())
}

fn is_web(address: &str) -> bool {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let Some(rest) = rest.filter(|_| address.len() <= MOST_URL_BYTES) else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_plain = address.chars().all(|c| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c));
    is_plain && !host.is_empty() && !host.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_addresses() {
        for (kind, good, bad) in [
            (
                ContactKind::Email,
                &["ada@example.com", "a.b+c@x.example"][..],
                &["ada", "@x", "a@", "a b@x.y", "a@x..y", "A <a@x.y>"][..],
            ),
            (ContactKind::Sms, &["+4915112345678"], &["015112345678", "+12", "+1234567890123456", "+49 151 1234567"]),
            (ContactKind::Slack, &["U012AB3CD", "W012AB3CDEF"], &["u012ab3cd", "#ops", "C012AB3CD", "U1"]),
            (
                ContactKind::Webhook,
                &["https://example.com/hook?x=1", "http://127.0.0.1:9/x"],
                &["ftp://x", "https://", "https://user@host/", "https://x/#a", "https://x/a b", "javascript:alert(1)"],
            ),
        ] {
            for address in good {
                assert_eq!(address_problem(kind, address), None, "{kind} {address}");
            }
            for address in bad {
                assert!(address_problem(kind, address).is_some(), "{kind} {address}");
            }
            assert!(address_problem(kind, &"9".repeat(3_000)).is_some(), "{kind}");
        }
    }
}
