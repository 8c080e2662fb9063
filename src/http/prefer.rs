//! The `Prefer` header (RFC 7240): what the client would like, if it can be had.

use actix_web::http::header::{HeaderMap, HeaderName};

use super::problem::Problem;

const NAME: HeaderName = HeaderName::from_static("prefer");

/// How many seconds the client would like to wait for the end: `Prefer: wait=10` (RFC 7240, section 4.3). `None` where it
/// does not say. As the RFC asks, of a preference that is given twice the first counts, unknown ones are passed over,
/// names are compared without case, and a value may stand in quotation marks. A wait that is no whole number is a
/// problem that names the header. The caller bounds the number.
pub fn wait_seconds(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let wrong = || Problem::header("Prefer", "wait must be a whole number of seconds, such as wait=10");
    for line in headers.get_all(NAME) {
        let line = line.to_str().map_err(|_| wrong())?;
        for preference in split(line, ',') {
            // Parameters follow after a semicolon; wait has none that means anything.
            let first = split(preference, ';').next().unwrap_or_default();
            let (name, value) = first.split_once('=').unwrap_or((first, ""));
            if name.trim().eq_ignore_ascii_case("wait") {
                let value = value.trim();
                let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
                let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
                return bare.parse().ok().filter(|_| is_number).map(Some).ok_or_else(wrong);
            }
        }
    }
    Ok(None)
}

/// Parts between separators that do not stand between quotation marks; a backslash there quotes the next character.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        is_escaped = is_quoted && !was_escaped && c == '\\';
        is_quoted ^= c == '"' && !was_escaped;
        c == separator && !is_quoted
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn wait(lines: &[&str]) -> Result<Option<u64>, Problem> {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| headers.append(NAME, HeaderValue::from_str(line).unwrap()));
        wait_seconds(&headers)
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        assert_eq!(wait(&[]), Ok(None));
        assert_eq!(wait(&["wait=10"]), Ok(Some(10)));
        assert_eq!(wait(&["respond-async, WAIT = \"7\"; foo=1"]), Ok(Some(7)));
        assert_eq!(wait(&["return=minimal", "wait=0, wait=9"]), Ok(Some(0)));
        assert_eq!(wait(&[r#"x="a, wait=3\", wait=4"; wait=5, y"#]), Ok(None), "what is quoted is no preference");
        assert_eq!(wait(&["handling=lenient; wait=3"]), Ok(None), "a parameter of another preference");
    }

    #[test]
    fn a_wait_that_is_no_number_names_the_header() {
        for bad in ["wait", "wait=", "wait=-1", "wait=+1", "wait=1.5", "wait=soon", "wait=99999999999999999999"] {
            let problem = wait(&[bad]).expect_err(bad);
            assert!(problem.to_string().contains("Prefer"), "{problem}");
        }
    }
}
