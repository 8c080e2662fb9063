//! Where the keys of token issuers come from: a file, or an address that publishes a JSON Web Key Set.
//!
//! Level-triggered: whoever needs a key has the set read anew when it is older than it may be, or lacks the key. Nothing
//! runs in the background, and nothing is asked more often than the least interval, however many tokens name keys of
//! nobody. The last good set is kept while the source is away or sends rubbish.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Client, Url};

use super::key_set::KeySet;
use crate::http::settings::AuthSettings;

/// A larger set is not read.
const MOST_BYTES: usize = 256 << 10;

/// The keys cannot be had, now or ever: mend what is named.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {why}")]
pub struct KeySourceError {
    /// The key of the configuration that names the source.
    pub key: &'static str,
    pub why: String,
    /// Whether it may be gone a moment later, as where the file is on a mount that comes late.
    pub may_pass: bool,
}

/// A source and what came from it last.
pub struct KeySource {
    place: Place,
    times: Times,
    known: Mutex<Known>,
    /// Held by the one who reads.
    reading: tokio::sync::Mutex<()>,
}

enum Place {
    File(PathBuf),
    Web(Client, Url),
}

struct Times {
    /// A set is believed for so long.
    refresh: Duration,
    /// Between two readings.
    least: Duration,
    /// For one reading.
    limit: Duration,
}

#[derive(Default)]
struct Known {
    set: Option<Arc<KeySet>>,
    read_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl KeySource {
    /// The configured source, if there is one. A file is read at once, because a wrong one should stop the start.
    pub fn new(settings: &AuthSettings) -> Result<Option<Self>, KeySourceError> {
        let times = Times {
            refresh: Duration::from_secs(settings.jwks_refresh_seconds),
            least: Duration::from_secs(settings.jwks_least_interval_seconds),
            limit: Duration::from_millis(settings.jwks_timeout_ms),
        };
        let (place, known) = match (settings.jwks_file.as_str(), settings.jwks_url.as_str()) {
            ("", "") => return Ok(None),
            ("", url) => (web(url, times.limit)?, Known::default()),
            (path, _) => {
                let path = PathBuf::from(path);
                let wrong = |why: String, may_pass| {
                    let why = format!("{}: {why}", path.display());
                    KeySourceError { key: "auth.jwks_file", why, may_pass }
                };
                let text = read_file(&path).map_err(|error| wrong(error.to_string(), true))?;
                let set = within(text).and_then(|text| KeySet::parse(&text)).map_err(|why| wrong(why, false))?;
                let now = Some(Instant::now());
                (Place::File(path), Known { set: Some(Arc::new(set)), read_at: now, tried_at: now })
            }
        };
        Ok(Some(Self { place, times, known: Mutex::new(known), reading: tokio::sync::Mutex::default() }))
    }

    /// The present set, read anew where it is too old or lacks the key of this name; absent before the first good one.
    pub async fn keys(&self, id: Option<&str>) -> Option<Arc<KeySet>> {
        let (present, is_old) = self.present();
        let Some(present) = present else {
            self.read(true).await;
            return self.present().0;
        };
        let lacks = id.is_some_and(|id| !present.has(id));
        if is_old || lacks {
            // Whoever has a usable key does not wait for somebody else's reading.
            self.read(lacks).await;
            return self.present().0;
        }
        Some(present)
    }

    fn present(&self) -> (Option<Arc<KeySet>>, bool) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.set.clone(), known.read_at.is_none_or(|at| at.elapsed() >= self.times.refresh))
    }

    /// Reads, unless somebody has just done so. One reads at a time; others wait for it, or do without.
    async fn read(&self, wait: bool) {
        let _turn = match self.reading.try_lock() {
            Ok(turn) => turn,
            Err(_) if wait => self.reading.lock().await,
            Err(_) => return,
        };
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.tried_at.is_some_and(|at| at.elapsed() < self.times.least) {
                return;
            }
            known.tried_at = Some(Instant::now());
        }
        let read = tokio::time::timeout(self.times.limit, self.place.read()).await;
        let set = match read {
            Ok(text) => text.and_then(|text| KeySet::parse(&text)),
            Err(_) => Err(format!("it does not answer within {} ms", self.times.limit.as_millis())),
        };
        match set {
            Ok(set) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.set = Some(Arc::new(set));
                known.read_at = Some(Instant::now());
            }
            Err(why) => {
                tracing::warn!(source = %self.place.name(), why, "the keys of user tokens cannot be read; the last ones stay");
            }
        }
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Web(_, url) => url.host_str().unwrap_or_default().to_owned(),
        }
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|error| error.to_string())?.map_err(|error| error.to_string()).and_then(within)
            }
            Self::Web(client, url) => fetch(client, url).await,
        }
    }
}

/// What the file holds, and of one that is too large as much as shows that.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn within(text: Vec<u8>) -> Result<Vec<u8>, String> {
    if text.len() > MOST_BYTES { Err(too_large()) } else { Ok(text) }
}

/// HTTPS, or this machine itself; no redirects, because they could lead anywhere.
fn web(url: &str, limit: Duration) -> Result<Place, KeySourceError> {
    let wrong = |why: String| KeySourceError { key: "auth.jwks_url", why, may_pass: false };
    let url = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err(wrong("must begin with https://, except for this machine itself".to_owned()));
    }
    let builder = Client::builder()
        .user_agent(concat!("core314/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(limit)
        // A connection belongs to the thread that made it, and the next reading comes minutes later from another.
        .pool_max_idle_per_host(0);
    let builder = if is_here { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(|error| wrong(error.to_string()))?;
    Ok(Place::Web(client, url))
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, String> {
    // The address may hold what its owner would not want in a log.
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let answer = client.get(url.clone()).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let mut text = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failed)?;
        if text.len() + chunk.len() > MOST_BYTES {
            return Err(too_large());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn too_large() -> String {
    format!("it has more than {MOST_BYTES} bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    const SET: &str = include_str!("../../../tests/keys/jwks.json");

    fn only(id: &str) -> String {
        let mut document: serde_json::Value = serde_json::from_str(SET).unwrap();
        document["keys"].as_array_mut().unwrap().retain(|key| key["kid"] == id);
        document.to_string()
    }

    /// Answers requests on this machine one after the other, with these bodies and statuses.
    fn publisher(answers: Vec<(u16, String)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut connection, _) = listener.accept().unwrap();
                let mut request = [0; 2_048];
                let _read = connection.read(&mut request).unwrap();
                let head =
                    format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                // A client that has read enough hangs up.
                let _sent = connection.write_all(format!("{head}{body}").as_bytes());
            }
        });
        format!("http://{address}/keys")
    }

    fn settings(refresh: u64, least: u64) -> AuthSettings {
        let _ = rustls::crypto::ring::default_provider().install_default();
        AuthSettings { jwks_refresh_seconds: refresh, jwks_least_interval_seconds: least, ..AuthSettings::default() }
    }

    fn source(settings: &AuthSettings) -> KeySource {
        KeySource::new(settings).expect("usable").expect("configured")
    }

    async fn has(source: &KeySource, id: &str) -> Option<bool> {
        source.keys(Some(id)).await.map(|set| set.has(id))
    }

    #[tokio::test]
    async fn an_unknown_key_has_the_set_read_again_but_not_too_often() {
        let url = publisher(vec![(200, only("rsa")), (200, only("ec"))]);
        let eager = source(&AuthSettings { jwks_url: url, ..settings(3_600, 0) });
        assert_eq!(has(&eager, "rsa").await, Some(true));
        assert_eq!(has(&eager, "ec").await, Some(true), "the set was read again");
        let url = publisher(vec![(200, only("rsa")), (200, only("ec"))]);
        let patient = source(&AuthSettings { jwks_url: url, ..settings(3_600, 3_600) });
        assert_eq!(has(&patient, "rsa").await, Some(true));
        for _ in 0..5 {
            assert_eq!(has(&patient, "ec").await, Some(false), "it was read a moment ago");
        }
    }

    #[tokio::test]
    async fn the_last_good_set_stays_while_the_source_is_away_or_sends_rubbish() {
        let answers = [(200, only("rsa")), (500, String::new()), (302, String::new()), (200, "{}".to_owned())];
        let large = (200, " ".repeat(MOST_BYTES + 1));
        let url = publisher(answers.into_iter().chain([large]).collect());
        let old = source(&AuthSettings { jwks_url: url, ..settings(0, 0) });
        for _ in 0..7 {
            assert_eq!(has(&old, "rsa").await, Some(true));
        }
        let nobody = source(&AuthSettings { jwks_url: "http://127.0.0.1:1/".to_owned(), ..settings(0, 0) });
        assert_eq!(has(&nobody, "rsa").await, None);
    }

    #[tokio::test]
    async fn a_set_that_is_too_old_is_read_again() {
        let url = publisher(vec![(200, only("rsa")), (200, only("ec"))]);
        let source = source(&AuthSettings { jwks_url: url, ..settings(0, 0) });
        assert!(source.keys(None).await.expect("there").has("rsa"));
        assert!(source.keys(None).await.expect("there").has("ec"));
    }

    #[tokio::test]
    async fn a_file_is_read_at_the_start_and_again_for_a_key_that_it_lacks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = AuthSettings { jwks_file: file.path().display().to_string(), ..settings(3_600, 0) };
        let error = KeySource::new(&settings).err().expect("an empty file is refused");
        assert!(error.to_string().starts_with("auth.jwks_file: /") && !error.may_pass, "{error}");
        let nowhere = AuthSettings { jwks_file: format!("{}.none", settings.jwks_file), ..settings.clone() };
        assert!(KeySource::new(&nowhere).err().expect("no file").may_pass, "it may be mounted in a moment");
        std::fs::write(file.path(), only("rsa")).unwrap();
        let source = source(&settings);
        assert_eq!(has(&source, "rsa").await, Some(true));
        std::fs::write(file.path(), only("ed")).unwrap();
        assert_eq!(has(&source, "rsa").await, Some(true), "nobody has asked for another");
        assert_eq!(has(&source, "ed").await, Some(true));
        assert_eq!(has(&source, "rsa").await, Some(false));
    }

    #[test]
    fn only_https_or_this_machine_is_asked() {
        let of = |url: &str| KeySource::new(&AuthSettings { jwks_url: url.to_owned(), ..settings(1, 1) });
        for url in ["https://issuer.example/keys", "http://localhost:1/", "http://[::1]/"] {
            assert!(of(url).is_ok(), "{url}");
        }
        for url in
            ["http://issuer.example/keys", "http://127.0.0.1.example/", "ftp://localhost/", "file:///etc/keys", "x"]
        {
            let error = of(url).err().expect(url);
            assert!(error.to_string().starts_with("auth.jwks_url: "), "{error}");
        }
        assert!(KeySource::new(&settings(1, 1)).expect("nothing is configured").is_none());
    }
}
