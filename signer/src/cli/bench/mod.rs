//! `signonce bench`: what a protected signature costs on this machine. (Being written.)

/// Arguments of `signonce bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print the results as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// A short run with fewer samples.
    #[arg(long)]
    pub quick: bool,
}

/// Measures and prints.
///
/// # Errors
/// If the cluster cannot be made.
pub async fn run(args: Args) -> anyhow::Result<std::process::ExitCode> {
    let _ = args;
    anyhow::bail!("not there yet")
}
