//! Who is let in, as whom, and what they see: the real binary on both stores.

mod callers;
mod hostile;
mod keys;
mod local_socket;
mod routes;
mod walls;
