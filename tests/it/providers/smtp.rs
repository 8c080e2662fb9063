//! A server of SMTP on loopback (RFC 5321), with STARTTLS (RFC 3207), TLS from the start, and AUTH (RFC 4954). It takes
//! nothing out of order, and no message that breaks the rules of their form (RFC 5322).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const USER: &str = "robot";
pub const PASSWORD: &str = "planted-smtp-password-0001";
/// Addresses that are not taken, and what is said of them; the second one is taken when it is tried again.
pub const NOBODY: &str = "nobody@example.com";
pub const BUSY: &str = "busy@example.com";

/// An e-mail that was taken.
#[derive(Debug, Clone)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Without the dots that were stuffed.
    pub text: String,
    pub is_encrypted: bool,
    pub user: Option<String>,
}

impl Mail {
    /// A header's value, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}

/// What a server offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    StartTls,
    Tls,
    Plain,
}

pub struct Smtp {
    pub port: u16,
    /// The certificate of who vouches for it, as a file.
    pub authority: PathBuf,
    manner: Manner,
    config: Arc<ServerConfig>,
    taken: Mutex<Vec<Mail>>,
    /// Who has said NOOP, and whether it was encrypted.
    noops: Mutex<Vec<(Option<String>, bool)>>,
    /// How often somebody was asked for who is busy.
    busy: Mutex<BTreeMap<String, u32>>,
}

impl Smtp {
    /// Starts for `localhost`, with a certificate that is written into this folder.
    pub fn start(manner: Manner, folder: &std::path::Path) -> Arc<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let authority = folder.join(format!("smtp-{port}.pem"));
        std::fs::write(&authority, made.cert.pem()).expect("a file");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let config = Arc::new(config.expect("they belong together"));
        let (taken, noops, busy) = Default::default();
        let smtp = Arc::new(Self { port, authority, manner, config, taken, noops, busy });
        let server = smtp.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        smtp
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Mail> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who has said NOOP so far, and whether it was encrypted.
    pub fn noops(&self) -> Vec<(Option<String>, bool)> {
        self.noops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(&self, stream: TcpStream) {
        if self.manner == Manner::Tls {
            return self.serve_encrypted(stream, true);
        }
        let mut reader = BufReader::new(stream);
        if Session::new(self, false).run(&mut reader, true) && reader.buffer().is_empty() {
            self.serve_encrypted(reader.into_inner(), false);
        }
    }

    fn serve_encrypted(&self, stream: TcpStream, greets: bool) {
        let connection = ServerConnection::new(self.config.clone()).expect("a configuration that holds");
        let mut reader = BufReader::new(StreamOwned::new(connection, stream));
        Session::new(self, true).run(&mut reader, greets);
    }
}

struct Session<'a> {
    server: &'a Smtp,
    is_encrypted: bool,
    said_hello: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(server: &'a Smtp, is_encrypted: bool) -> Self {
        Self { server, is_encrypted, said_hello: false, user: None, from: None, to: Vec::new() }
    }

    /// Whether it is to go on in TLS.
    fn run<S: Read + Write>(&mut self, stream: &mut BufReader<S>, greets: bool) -> bool {
        let say = |stream: &mut BufReader<S>, text: &str| {
            stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).is_ok()
        };
        if greets && !say(stream, "220 localhost ESMTP") {
            return false;
        }
        while let Some(line) = line(stream) {
            let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let reply = match word.as_str() {
                "EHLO" => self.hello(),
                "STARTTLS" if self.server.manner == Manner::StartTls && !self.is_encrypted => {
                    return say(stream, "220 2.0.0 Ready to start TLS");
                }
                "AUTH" => self.authenticate(&line, stream),
                "MAIL" => self.mail(&line),
                "RCPT" => self.recipient(&line),
                "DATA" if self.from.is_some() && !self.to.is_empty() => {
                    if !say(stream, "354 End data with <CR><LF>.<CR><LF>") {
                        return false;
                    }
                    self.data(stream)
                }
                "QUIT" => {
                    say(stream, "221 2.0.0 Bye");
                    return false;
                }
                "NOOP" => self.nothing(),
                _ => "503 5.5.1 Bad sequence of commands".to_owned(),
            };
            if !say(stream, &reply) {
                return false;
            }
        }
        false
    }

    fn hello(&mut self) -> String {
        self.said_hello = true;
        let mut lines = vec!["localhost", "8BITMIME", "SMTPUTF8"];
        if self.server.manner == Manner::StartTls && !self.is_encrypted {
            lines.push("STARTTLS");
        }
        if self.is_encrypted {
            lines.push("AUTH PLAIN LOGIN");
        }
        // All but the last line have a dash behind the code.
        let last = lines.pop().expect("there are some");
        format!("250-{}\r\n250 {last}", lines.join("\r\n250-"))
    }

    fn authenticate<S: Read + Write>(&mut self, said: &str, _: &mut BufReader<S>) -> String {
        let proof = said.strip_prefix("AUTH PLAIN ").and_then(|text| STANDARD.decode(text).ok());
        if !self.is_encrypted {
            return "538 5.7.11 Encryption required for requested authentication mechanism".to_owned();
        }
        if proof.as_deref() != Some(format!("\0{USER}\0{PASSWORD}").as_bytes()) {
            return "535 5.7.8 Error: authentication failed".to_owned();
        }
        self.user = Some(USER.to_owned());
        "235 2.7.0 Authentication successful".to_owned()
    }

    fn nothing(&self) -> String {
        let mut noops = self.server.noops.lock().unwrap_or_else(PoisonError::into_inner);
        noops.push((self.user.clone(), self.is_encrypted));
        "250 2.0.0 OK".to_owned()
    }

    fn mail(&mut self, said: &str) -> String {
        if !self.said_hello || self.from.is_some() {
            return "503 5.5.1 Bad sequence of commands".to_owned();
        }
        if self.server.manner != Manner::Plain && self.user.is_none() {
            return "530 5.7.0 Authentication required".to_owned();
        }
        self.from = address(said);
        "250 2.1.0 Ok".to_owned()
    }

    fn recipient(&mut self, said: &str) -> String {
        let Some(to) = address(said).filter(|_| self.from.is_some()) else {
            return "503 5.5.1 Bad sequence of commands".to_owned();
        };
        if to == NOBODY {
            return format!("550 5.1.1 <{to}>: Recipient address rejected: User unknown");
        }
        if to == BUSY {
            let mut busy = self.server.busy.lock().unwrap_or_else(PoisonError::into_inner);
            let tried = busy.entry(to.clone()).or_default();
            *tried += 1;
            if *tried == 1 {
                return format!("450 4.2.1 <{to}>: Recipient address rejected: Greylisted, see later");
            }
        }
        self.to.push(to);
        "250 2.1.5 Ok".to_owned()
    }

    fn data<S: Read + Write>(&mut self, stream: &mut BufReader<S>) -> String {
        let mut text = String::new();
        loop {
            let Some(line) = line(stream) else { return String::new() };
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let mail = Mail { from, to, text, is_encrypted: self.is_encrypted, user: self.user.clone() };
        for header in ["From", "Date", "Message-ID", "MIME-Version", "Subject"] {
            if mail.header(header).is_none() {
                return format!("554 5.6.0 Message has no {header}");
            }
        }
        if mail.text.lines().any(|line| line.len() > 998) || !mail.text.is_ascii() {
            return "554 5.6.0 Message content breaks the rules".to_owned();
        }
        self.server.taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        "250 2.0.0 Ok: queued as 4F1B2C".to_owned()
    }
}

/// A line without its end, which must be CR and LF.
fn line<S: Read>(stream: &mut BufReader<S>) -> Option<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).ok()?;
    String::from_utf8(bytes).ok()?.strip_suffix("\r\n").map(str::to_owned)
}

fn address(said: &str) -> Option<String> {
    let (_, rest) = said.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address.to_owned())
}
