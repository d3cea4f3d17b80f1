//! How a signer's processes are started: traced, or with another clock, as a case wants it.

use crate::signer::How;
use anyhow::Context as _;
use signonce_harness::host;
use std::ffi::OsString;

pub use signonce_harness::{CommandLine, Process};

/// What `strace` writes down: whatever makes, changes, moves or syncs a file.
const TRACED: &str = "trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,\
                      fsync,fdatasync,sync,syncfs,msync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// `line`, traced or with another clock.
///
/// # Errors
/// If the means are lacking.
pub fn started_as(mut line: CommandLine, how: &How, machine: usize) -> anyhow::Result<CommandLine> {
    if let Some(seconds) = how.clock {
        let library = host::faketime().context("needs libfaketime")?;
        line = line
            .with("LD_PRELOAD", library)
            .with("FAKETIME", format!("{seconds:+}"))
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("DONT_FAKE_MONOTONIC", "1");
    }
    let Some(dir) = &how.traced else { return Ok(line) };
    // The traced process stays our child (`-D`), so that signals reach it and not the tracer.
    let words = ["strace", "-D", "-f", "-y", "-s", "0", "-e", TRACED, "-o"];
    let file = dir.join(format!("trace-{machine}"));
    Ok(line.inside(words.into_iter().map(OsString::from).chain([file.into(), "--".into()])))
}
