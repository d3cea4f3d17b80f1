//! `signonce completions` and `signonce man`: what packages install beside the program.

use super::common::{Done, stdout};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{fs, io::Write as _, path::PathBuf, process::ExitCode};

/// Prints the completions of a shell, for instance `signonce completions bash > /etc/bash_completion.d/signonce`.
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Writes the manual pages, one for each command.
#[derive(clap::Args, Debug)]
pub struct Man {
    /// The directory, for instance /usr/local/share/man/man1.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn completions(args: &Completions) -> Done {
    // Into memory first, as the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "signonce", &mut script);
    let mut out = stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &Man) -> Done {
    let place = || format!("cannot write the manual pages to {}", args.out.display());
    fs::create_dir_all(&args.out).with_context(place)?;
    clap_mangen::generate_to(super::Cli::command(), &args.out).with_context(place)?;
    Ok(ExitCode::SUCCESS)
}
