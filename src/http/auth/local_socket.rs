//! Where a request came from: the socket in the data directory, or an address.
//!
//! The file's mode lets nobody but its user open the socket, so whoever comes that way may do on this server what its
//! user may do with its files anyway.

use std::any::Any;
use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use tokio::net::UnixStream;

use crate::http::client::Client;

/// Marks a connection that came over the socket.
struct LocalSocket;

/// Called once for every new connection.
pub fn note_local_socket(connection: &dyn Any, data: &mut Extensions) {
    if connection.is::<UnixStream>() {
        data.insert(LocalSocket);
    }
}

/// Whether a request came over the socket.
pub fn is_local_socket(req: &HttpRequest) -> bool {
    req.conn_data::<LocalSocket>().is_some()
}

/// Whom failed attempts are counted for: the client, as far as a trusted proxy says who that is. None over the socket.
pub fn client_address(req: &HttpRequest) -> Option<IpAddr> {
    if is_local_socket(req) { None } else { Client::of(req).and_then(|client| client.address) }
}
