//! The `signonce` program. Everything is in the library; see `signonce::cli`.

fn main() -> std::process::ExitCode {
    signonce::cli::main(&signonce::families::FAMILIES)
}
