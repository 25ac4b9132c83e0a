//! The program `aka`. All it does is in the library, which the tests and benchmarks use, too.

use std::process::ExitCode;

/// Allocates faster than the system's allocator where many threads do so at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    aka::cli::main()
}
