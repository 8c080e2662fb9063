//! A scripted HTTP server: it hears one request per connection, keeps it as it came, and answers with given bytes.
//!
//! It speaks raw bytes because half of the tests want an answer that no HTTP library would send.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the server does once it has heard a request.
pub enum Answer {
    /// Sends bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Sends bytes and then nothing, until the other side hangs up.
    Silence(Vec<u8>),
    /// Sends the request back, as the body of a status.
    Echo(&'static str),
}

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Such as `GET /a?b=1 HTTP/1.1`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub struct Server {
    pub url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    heard: mpsc::Receiver<Heard>,
    hung_up: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts on a free port of loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, heard) = mpsc::channel(100);
        let (tell_hung_up, hung_up) = mpsc::channel(100);
        let script = answers.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), tell.clone(), tell_hung_up.clone()));
            }
        });
        Self { url, answers, heard, hung_up, task }
    }

    /// Says what the next request without an answer gets.
    pub fn then(&self, answer: Answer) -> &Self {
        self.answers.lock().expect("no panic").push_back(answer);
        self
    }

    /// The same, from a status line's end, headers and a body; the length is added.
    pub fn answer(&self, status: &str, headers: &str, body: impl AsRef<[u8]>) -> &Self {
        self.then(Answer::Bytes(response(status, headers, body.as_ref())))
    }

    /// The next request that was heard, in the order of their arrival.
    pub async fn next(&mut self) -> Heard {
        self.heard.recv().await.expect("the server runs")
    }

    /// Whether no request has come beside those that were taken.
    pub fn is_quiet(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    /// Waits until the other side of a silent connection has hung up.
    pub async fn hung_up(&mut self) {
        self.hung_up.recv().await.expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<VecDeque<Answer>>>,
    tell: mpsc::Sender<Heard>,
    hung_up: mpsc::Sender<()>,
) {
    let Some((heard, raw)) = hear(&mut stream).await else {
        return;
    };
    tell.send(heard).await.expect("the test listens");
    let answer = script.lock().expect("no panic").pop_front();
    let (bytes, is_silent) = match answer {
        Some(Answer::Bytes(bytes)) => (bytes, false),
        Some(Answer::Silence(bytes)) => (bytes, true),
        Some(Answer::Echo(status)) => (response(status, "", &raw), false),
        None => (response("500 Nothing Scripted", "", b""), false),
    };
    // The other side may have left while it was answered: that is what some tests are about.
    let _ = stream.write_all(&bytes).await;
    if is_silent {
        while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
        hung_up.send(()).await.expect("the test listens");
    }
}

async fn hear(stream: &mut TcpStream) -> Option<(Heard, Vec<u8>)> {
    let mut raw = Vec::new();
    let mut ends = None;
    loop {
        if ends.is_none() {
            ends = raw.windows(4).position(|four| four == b"\r\n\r\n").map(|at| (at, at + 4));
        }
        if let Some((head_end, body_start)) = ends {
            let head = String::from_utf8_lossy(&raw[..head_end]).into_owned();
            let mut lines = head.split("\r\n");
            let line = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a number"));
            if raw.len() >= body_start + length {
                let body = raw[body_start..].to_vec();
                return Some((Heard { line, headers, body }, raw));
            }
        }
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => raw.extend_from_slice(&chunk[..count]),
            // A connection without a request, such as a TLS greeting that was given up.
            _ => return None,
        }
    }
}
