//! `signonce keys public`: public keys in the form in which the chain's own tools show and take them.

use super::find_chain;
use crate::commands::common::{Done, Reach};
use serde_json::json;
use signonce_protocol::KeyState;
use std::process::ExitCode;

/// Prints the public keys of a chain as its own tools show and take them.
///
/// For a CometBFT chain that is what `tendermint show-validator` prints, and what `create-validator` takes; for a Substrate
/// chain the public key in 0x-hex.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// Only those of this validator.
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let mut rows = admin.keys().await?;
    rows.retain(|row| row.genesis == chain.genesis && row.state != KeyState::Removed);
    rows.retain(|row| args.group.is_none() || row.group == args.group);
    let shown: Vec<_> = rows
        .iter()
        .map(|row| row.scheme.show(&row.id.public).unwrap_or_else(|| json!(row.id.public)))
        .collect();
    let text: Vec<_> =
        shown.iter().map(|shown| shown.as_str().map_or(shown.to_string(), str::to_owned)).collect();
    args.reach.output.print(&shown, text.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
