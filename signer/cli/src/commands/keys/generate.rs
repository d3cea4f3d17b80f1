//! `signonce keys generate`: session keys that never existed anywhere else.

use super::{
    find_chain,
    set::{Elsewhere, Entry, Fresh, entries, statement},
};
use crate::commands::common::{Confirm, Done, Reach, Usage};
use serde_json::json;
use signonce_core::Chain;
use signonce_protocol::{HexBytes, KeyType};
use signonce_shared::enroll::recipients;
use signonce_substrate::{AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, PARA};
use std::process::ExitCode;

/// The session keys of Polkadot's and Kusama's runtimes.
pub(super) const POLKADOT: &str = "gran,babe,para,asgn,audi,beef";

/// Makes session keys here, seals them to every member, registers and arms them.
///
/// Prints the public keys and the blob for `session.setKeys`: the public keys one after the other, in the order of
/// --types, which must be the order of the chain's runtime (`SessionKeys` in its metadata). Also prints the proof that
/// their holder agrees to be registered by --owner: the keys' signatures of it, in the same order.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator they belong to. Rights and the BEEFY shield are by validator.
    #[arg(long)]
    group: String,
    /// The key types to make, in this order. By default babe,gran,para,audi,beef; on chains of other families than
    /// Substrate, one of each type that they have.
    #[arg(long, value_delimiter = ',')]
    types: Vec<KeyType>,
    /// Make a whole set for `session.setKeys`: every key of --order, those of --elsewhere at their places, and proofs
    /// for --owner.
    #[arg(long, requires = "owner", conflicts_with = "types")]
    for_set_keys: bool,
    /// The order of the runtime's session keys. By default Polkadot's and Kusama's.
    #[arg(long, value_delimiter = ',', value_name = "TYPES", requires = "for_set_keys", default_value = POLKADOT)]
    order: Vec<String>,
    /// A key of the set that stays on the validator, with its ownership proof: TYPE:0xPUBLIC:0xPROOF. Repeatable.
    #[arg(long, value_name = "KEY", requires = "for_set_keys")]
    elsewhere: Vec<Elsewhere>,
    /// The account that will call `session.setKeys`, as the runtime encodes it (its 32-byte public key on most chains).
    /// The ownership proofs are made for it; by default they name no owner.
    #[arg(long, value_name = "0xHEX", default_value = "0x")]
    owner: HexBytes,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let members = recipients(&admin).await?.len();
    let entries = if args.for_set_keys {
        entries(&args.order, &args.elsewhere)?
    } else {
        types(&args.types, &chain)?.into_iter().map(Entry::Ours).collect()
    };
    // Chains of other families have no session keys, and no ownership proofs to register.
    let statement = match chain.family == &signonce_substrate::FAMILY {
        true => Some(statement(&args.owner, &chain)?),
        false => None,
    };
    args.confirm.ask(plan(&args, &entries, &chain, members))?;
    let fresh = Fresh::make(&entries, &chain, &args.group, statement.as_ref())?;
    let made = fresh.made.clone();
    fresh.enroll(&admin, &chain).await?;
    let value = json!({
        "chain": chain.name, "group": args.group, "keys": made.keys,
        "sessionKeys": made.session_keys, "ownershipProof": made.ownership_proof, "shown": made.shown(),
    });
    args.reach.output.done(&value, made.describe())?;
    Ok(ExitCode::SUCCESS)
}

/// The key types to make: those that were given, or the family's usual ones.
fn types(given: &[KeyType], chain: &Chain) -> Result<Vec<KeyType>, Usage> {
    check_types(given, chain)?;
    Ok(match given {
        [] if *chain.family == signonce_substrate::FAMILY => {
            vec![BABE, GRANDPA, PARA, AUTHORITY_DISCOVERY, BEEFY]
        }
        [] => chain.family.key_types.iter().map(|spec| spec.id).collect(),
        [_, ..] => given.to_vec(),
    })
}

fn check_types(types: &[KeyType], chain: &Chain) -> Result<(), Usage> {
    if let Some(other) = types.iter().find(|key_type| key_type.family() != chain.family) {
        let own: Vec<_> = chain.family.key_types.iter().map(|spec| spec.name).collect();
        let (name, family) = (&chain.name, chain.family);
        let why = format!(
            "--types: {name} is a {family} chain, which has no {other} keys; its types are {}",
            own.join(", ")
        );
        return Err(Usage(why));
    }
    let twice = types.iter().enumerate().find(|(i, key_type)| types[..*i].contains(key_type));
    match twice {
        Some((_, key_type)) => Err(Usage(format!("--types names {key_type} twice"))),
        None => Ok(()),
    }
}

fn plan(args: &Args, entries: &[Entry], chain: &Chain, members: usize) -> String {
    let ours = |entry: &Entry| match entry {
        Entry::Ours(key_type) => Some(key_type.to_string()),
        Entry::Theirs(_) => None,
    };
    let types: Vec<String> = entries.iter().filter_map(ours).collect();
    format!(
        "Will make {} new keys ({}) on chain {} for {:?}, sealed to {members} members, and arm them.",
        types.len(),
        types.join(", "),
        chain.name,
        args.group
    )
}
