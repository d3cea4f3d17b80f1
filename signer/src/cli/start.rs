//! `signonce start`: runs a node.

use super::common::{ConfigFile, Done, load};

/// Runs a signer until it is stopped.
///
/// On SIGTERM or Ctrl-C it hands leadership over, answers what is under way, and exits with 0; a second signal ends it
/// at once. It never creates a store: `signonce init` does, once.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// A setting in place of the file's and the environment's, as section.key=value. Repeatable.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

pub(super) async fn run(args: Args) -> Done {
    let loaded = load(&args.config.config, &args.set)?;
    crate::server::run(loaded.config, &loaded.warnings).await?;
    Ok(std::process::ExitCode::SUCCESS)
}
