//! The `signonce` program with one family more.

use signonce_made_up_family::FERRIES;
use signonce_protocol::Family;

/// The one line that a family costs outside its crate is the last of these two.
static FAMILIES: [&Family; 2] = [&signonce_substrate::FAMILY, &FERRIES];

fn main() -> std::process::ExitCode {
    signonce::main(&FAMILIES)
}
