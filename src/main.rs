//! The binary: everything is in the library beside it.

/// Of every thread's own heap: runs are made on one thread, committed on another and logged on a third.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    core314::cli::main()
}
