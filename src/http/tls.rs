//! TLS of our own: the certificate that this server shows, from two PEM files that may be replaced while it runs.
//!
//! ```text
//! files ── Certificate::load | reload ── rustls asks for it at every handshake
//! ```
//! Both files are compared by what they hold, not by their times: tools that renew certificates copy, rename and swing
//! symbolic links, and only the content tells that something has changed. Reading a few kilobytes costs nothing.
//!
//! - A certificate in use is only ever replaced by one that is whole: its chain can be read and the key is its own.
//! - A pair that is no good is reported once, not at every look.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// More than this is no certificate.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where the certificate is, and what comes with it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM: the server's certificate, then those that vouch for it. Empty: no TLS.
    pub certificate: PathBuf,
    /// PEM: the private key (PKCS #8, PKCS #1 or SEC1).
    pub key: PathBuf,
    /// How often the files are looked at.
    pub reload_seconds: u64,
    /// How long browsers shall insist on TLS (RFC 6797); 0: the header is not sent.
    pub hsts_seconds: u64,
}

/// The certificate cannot be used: mend the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} has more than {MAX_FILE_BYTES} bytes: that is no PEM file of a certificate or key", .0.display())]
    TooLarge(PathBuf),
    #[error("{} holds no certificate: it must have blocks that begin with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key: it must have a block that begins with -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    #[error("certificate {} and key {} do not make a pair: {source}", certificate.display(), key.display())]
    NoPair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

impl CertificateError {
    /// The key of the configuration that names the file to mend.
    pub fn configured_by(&self, settings: &TlsSettings) -> &'static str {
        let path = match self {
            Self::Unreadable { path, .. } | Self::TooLarge(path) | Self::NoCertificate(path) | Self::NoKey(path) => {
                path
            }
            Self::NoPair { key, .. } => key,
        };
        if *path == settings.key { "http.tls.key" } else { "http.tls.certificate" }
    }

    /// Whether it may be gone a moment later: a mount comes late, and the two files are replaced one after the other.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreadable { .. } | Self::NoPair { .. } => true,
            Self::TooLarge(_) | Self::NoCertificate(_) | Self::NoKey(_) => false,
        }
    }
}

/// What a look at the files has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// They hold what they held at the last look.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
}

/// The certificate in use.
pub struct Certificate {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    state: RwLock<State>,
}

struct State {
    current: Arc<CertifiedKey>,
    /// Of both files, as they were at the last look: good or not.
    seen: [u8; 32],
}

impl Certificate {
    /// Reads the files; `None` where none are configured.
    pub fn load(settings: &TlsSettings) -> Result<Option<Arc<Self>>, CertificateError> {
        if settings.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let files = Files::read(settings)?;
        let state = State { current: Arc::new(files.pair(settings, &provider)?), seen: files.digest() };
        Ok(Some(Arc::new(Self { settings: settings.clone(), provider, state: RwLock::new(state) })))
    }

    /// How often the files are to be looked at.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Looks at the files, and uses what they hold if it is good; else the certificate in use stays. Blocks on the disk.
    /// What cannot be read is an error at every look, what is no good only when it is new.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        let files = Files::read(&self.settings)?;
        let digest = files.digest();
        if self.state.read().unwrap_or_else(PoisonError::into_inner).seen == digest {
            return Ok(Reloaded::Unchanged);
        }
        let pair = files.pair(&self.settings, &self.provider);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.seen = digest;
        state.current = Arc::new(pair?);
        Ok(Reloaded::Replaced)
    }

    /// What a TLS listener works with. The server adds what it speaks: `h2` and `http/1.1`.
    pub fn server_config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.clone())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.state.read().unwrap_or_else(PoisonError::into_inner).current.clone())
    }
}

impl fmt::Debug for Certificate {
    /// The place, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("path", &self.settings.certificate).finish_non_exhaustive()
    }
}

/// What the two files hold.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, CertificateError> {
        Ok(Self { certificate: read(&settings.certificate)?, key: read(&settings.key)? })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [Sha256::digest(&self.certificate), Sha256::digest(&self.key)];
        Sha256::digest(parts.concat()).into()
    }

    fn pair(&self, settings: &TlsSettings, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        let no_certificate = || CertificateError::NoCertificate(settings.certificate.clone());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| CertificateError::NoKey(settings.key.clone()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| CertificateError::NoPair {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(CertificateError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn files(dir: &Path) -> TlsSettings {
        TlsSettings { certificate: dir.join("tls.crt"), key: dir.join("tls.key"), ..TlsSettings::default() }
    }

    fn write(settings: &TlsSettings) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&settings.certificate, made.cert.pem()).unwrap();
        fs::write(&settings.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn shown(certificate: &Certificate) -> CertificateDer<'static> {
        certificate.state.read().unwrap().current.cert[0].clone()
    }

    #[test]
    fn a_replaced_pair_is_taken_up_and_a_bad_one_is_reported_once() {
        let scratch = tempfile::tempdir().unwrap();
        let settings = files(scratch.path());
        let first = write(&settings);
        let certificate = Certificate::load(&settings).unwrap().expect("configured");
        assert_eq!(shown(&certificate), first);
        assert_eq!(certificate.reload().unwrap(), Reloaded::Unchanged);

        let second = write(&settings);
        assert_eq!(certificate.reload().unwrap(), Reloaded::Replaced);
        assert_eq!(shown(&certificate), second);

        let other = files(&scratch.path().join("other"));
        fs::create_dir(scratch.path().join("other")).unwrap();
        write(&other);
        fs::copy(&other.key, &settings.key).unwrap();
        let error = certificate.reload().expect_err("the key of another").to_string();
        assert!(error.contains("tls.crt") && error.contains("do not make a pair"), "{error}");
        assert_eq!(certificate.reload().unwrap(), Reloaded::Unchanged, "reported once");
        assert_eq!(shown(&certificate), second, "the old one stays");

        fs::copy(&other.certificate, &settings.certificate).unwrap();
        assert_eq!(certificate.reload().unwrap(), Reloaded::Replaced, "the pair is whole again");
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let settings = files(scratch.path());
        let refusal = || Certificate::load(&settings).expect_err("no good").to_string();
        assert!(refusal().contains("tls.crt cannot be read"), "{}", refusal());
        write(&settings);
        fs::write(&settings.certificate, "hello").unwrap();
        assert!(refusal().contains("tls.crt holds no certificate"), "{}", refusal());
        write(&settings);
        fs::write(&settings.key, "-----BEGIN PRIVATE KEY-----\nhush").unwrap();
        assert!(refusal().contains("tls.key holds no private key"), "{}", refusal());
        assert!(!refusal().contains("hush"));
        fs::write(&settings.key, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(refusal().contains("more than 1048576 bytes"), "{}", refusal());
        assert!(Certificate::load(&TlsSettings::default()).unwrap().is_none());
    }
}
