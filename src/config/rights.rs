//! With whose rights the server runs.
//!
//! A server that runs as root is warned of and not refused: in a container root may be the only user there is, and what it may do there
//! is bounded otherwise. What it costs is the same everywhere: whatever breaks out of a flow has the whole machine.

/// What is said of a server that runs as root.
pub const AS_ROOT: &str =
    "the server runs as root: programs of run_command and whoever breaks into it may do anything on this machine";
/// And what to do.
pub const MEND: &str = "run it as a user that has nothing else, as packaging/systemd and packaging/container do";

/// Whether this process may do anything.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
