//! What an error of the HTTP library means for a retry.

use std::error::Error;

use core314_domain::log::Failure;

use crate::executors::failure::Code;
use crate::executors::outbound::Forbidden;

/// An exchange that did not come to a status.
pub fn failure(error: &reqwest::Error) -> Failure {
    let message = deepest(error);
    if let Some(forbidden) = find::<Forbidden>(error) {
        return Code::ForbiddenAddress.failure(forbidden.to_string());
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let code = if matches!(tls, rustls::Error::InvalidCertificate(_)) { Code::Certificate } else { Code::Tls };
        return code.failure(tls.to_string());
    }
    let code = if error.is_builder() {
        Code::InvalidPayload
    } else if error.is_connect() || find::<std::io::Error>(error).is_some() {
        Code::Connect
    } else if error.is_timeout() {
        Code::Timeout
    } else {
        Code::Protocol
    };
    code.failure(message)
}

/// The words of the innermost cause: the outer ones repeat the URL, which may hold secrets.
pub fn deepest(error: &reqwest::Error) -> String {
    chain(error).last().map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

/// The causes of an error, the outermost first, without the error itself.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| match error.downcast_ref::<std::io::Error>() {
        // An I/O error names what it wraps by `get_ref`; its `source` is the source of that.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}
