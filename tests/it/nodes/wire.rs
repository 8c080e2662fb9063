//! The way from a server to its database, which a test can cut: nothing passes then, and neither end is told.

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way that is open at first.
pub struct Wire {
    /// Where the server finds its database.
    pub url: String,
    is_open: watch::Sender<bool>,
}

impl Wire {
    /// A way to the database at this address.
    pub async fn to(url: &str) -> Self {
        let mut url = Url::parse(url).expect("the database's address is a URL");
        let host = url.host_str().expect("it has a host").to_owned();
        let far = (host, url.port().unwrap_or(5432));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        url.set_host(Some("127.0.0.1")).expect("it may have a host");
        url.set_port(Some(port)).expect("it may have a port");
        let is_open = watch::Sender::new(true);
        let opens = is_open.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect((far.0.as_str(), far.1)).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pump(near_in, far_out, opens.subscribe()));
                tokio::spawn(pump(far_in, near_out, opens.subscribe()));
            }
        });
        Self { url: url.into(), is_open }
    }

    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// What was under way when it was cut arrives now.
    pub fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

/// Passes on what comes in, until one of the ends is closed.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_open: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if is_open.wait_for(|is_open| *is_open).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
