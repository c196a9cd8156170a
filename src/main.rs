//! The program: reads the command line and hands over to its command.

mod cli;

use std::process::ExitCode;

/// musl's own allocator takes one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::start()
}
