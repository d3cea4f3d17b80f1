//! `signonce start`: runs a node.

use super::{
    Program,
    common::{ConfigFile, Done, exit_code, load, told},
};
use std::process::ExitCode;

/// Runs a signer until it is stopped.
///
/// On SIGTERM or Ctrl-C it hands leadership over, answers the requests under way, and exits with 0; a second signal
/// ends it at once. It never creates a store: `signonce init` does, once.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// A setting that overrides the file and the environment, as section.key=value. Repeatable.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

pub(super) async fn run(args: Args, program: Program) -> Done {
    let Err(error) = serve(args, program).await else { return Ok(ExitCode::SUCCESS) };
    // Unlike other commands, a signer ends even if nobody reads its messages; its supervisor sees the exit code.
    (program.last_words)(&told(&error));
    Ok(ExitCode::from(exit_code(&error)))
}

async fn serve(args: Args, program: Program) -> anyhow::Result<()> {
    let loaded = load(&args.config.config, &args.set)?;
    (program.serve)(loaded.config, loaded.warnings).await
}
