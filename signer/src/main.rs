//! The `signonce` program. Everything is in libraries; see `signonce::main`.

fn main() -> std::process::ExitCode {
    signonce::main(&signonce_shared::families::FAMILIES)
}
