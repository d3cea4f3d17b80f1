//! `signonce completions` and `signonce man`: what packages install beside the program.

use super::common::Done;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{fs, io, path::PathBuf, process::ExitCode};

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
    clap_complete::generate(args.shell, &mut super::Cli::command(), "signonce", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &Man) -> Done {
    fs::create_dir_all(&args.out)?;
    clap_mangen::generate_to(super::Cli::command(), &args.out)?;
    Ok(ExitCode::SUCCESS)
}
