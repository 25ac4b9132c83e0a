//! The program `aka`. Its code is in the library, which the benchmarks and tests also use.

use std::process::ExitCode;

/// Faster than the system allocator if many threads allocate at the same time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    aka::cli::main()
}
