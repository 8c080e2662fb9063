//! `Prefer: wait=N` (RFC 7240): how long a client is willing to wait.

use actix_web::http::header::HeaderMap;

use super::problem::Problem;

/// The seconds of the first `wait` preference. What else is preferred does not matter here; a wait that is no number is an
/// error, because whoever sends it means something by it.
pub fn wait_seconds(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let values = headers.get_all("Prefer").filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    for preference in preferences {
        let (name, value) =
            preference.split(';').next().unwrap_or_default().split_once('=').unwrap_or((preference, ""));
        if name.trim().eq_ignore_ascii_case("wait") {
            let seconds = value.trim().trim_matches('"').parse();
            return seconds.map(Some).map_err(|_| Problem::header("Prefer", "wait must be a whole number of seconds"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_wait_is_found_among_other_preferences() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HeaderName::from_static("prefer"), HeaderValue::from_str(value).unwrap());
            }
            wait_seconds(&headers)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["respond-async"]), Ok(None));
        assert_eq!(read(&["respond-async, wait=10"]), Ok(Some(10)));
        assert_eq!(read(&["return=minimal", "Wait = \"5\"; x=1"]), Ok(Some(5)));
        assert!(read(&["wait=soon"]).is_err());
        assert!(read(&["wait"]).is_err());
    }
}
