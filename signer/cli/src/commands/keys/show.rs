//! `signonce keys show`: a public key in the form that the chain's own tools show and take.

use super::find_key;
use crate::commands::common::{Done, Reach};
use serde_json::Value;
use signonce_protocol::{PublicKey, Scheme};
use std::process::ExitCode;

/// Prints a public key as the chain's own tools show and take it.
///
/// For a CometBFT chain this is what `tendermint show-validator` prints, as JSON in one line, for `--pubkey`; for a
/// Substrate chain the 0x-hex that signonce shows everywhere.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let row = find_key(&args.reach.client()?, &args.key).await?;
    let value = with_shown(serde_json::to_value(row.id)?, row.scheme, &row.id.public);
    args.reach.output.print(&value, shown(row.scheme, &row.id.public))?;
    Ok(ExitCode::SUCCESS)
}

/// A public key as the chain's own tools take it, in one line.
pub(super) fn shown(scheme: Scheme, public: &PublicKey) -> String {
    scheme.show(public).map_or_else(|| public.to_string(), |shown| shown.to_string())
}

/// What is said of a key in JSON, and beside it, as `shown`, the form of the chain's own tools if they have another.
pub(super) fn with_shown(mut said: Value, scheme: Scheme, public: &PublicKey) -> Value {
    if let (Some(shown), Some(fields)) = (scheme.show(public), said.as_object_mut()) {
        fields.insert("shown".to_owned(), shown);
    }
    said
}
