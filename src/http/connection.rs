//! What is asked of the kernel for each connection.

use std::any::Any;

use actix_web::rt::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};

/// Closes the connection when the client has not taken what was sent for so many milliseconds: it has vanished, or has
/// stopped reading. Without this a stuck client would hold its connection, and whatever streams to it, for as long as it
/// likes: an answer that cannot be written is not asked for more, so nobody would notice (RFC 5482; tcp(7),
/// `TCP_USER_TIMEOUT`, which counts a window that stays closed too).
pub fn close_when_stuck(connection: &dyn Any, timeout_ms: u32) {
    let Some(connection) = connection.downcast_ref::<TcpStream>() else { return };
    if let Err(error) = setsockopt(connection, sockopt::TcpUserTimeout, &timeout_ms) {
        // The connection works without it; it is merely not bounded.
        tracing::warn!(%error, "a connection's time to be stuck cannot be bounded");
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    #[tokio::test]
    async fn the_kernel_knows_the_bound() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let connection = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        close_when_stuck(&connection, 1_234);
        assert_eq!(getsockopt(&connection, sockopt::TcpUserTimeout), Ok(1_234));
    }
}
