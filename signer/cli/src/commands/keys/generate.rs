//! `signonce keys generate`: session keys that never existed anywhere else.

use super::{
    find_chain,
    set::{Elsewhere, Entry, Fresh, MadeSet, entries, statement},
    show,
};
use crate::commands::common::{Confirm, Done, Reach, Usage};
use serde_json::{Value, json};
use signonce_core::Chain;
use signonce_protocol::{HexBytes, KeyType, Scheme};
use signonce_shared::enroll::recipients;
use signonce_substrate::{AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, PARA};
use std::{fmt::Write as _, process::ExitCode};

/// The session keys of Polkadot's and Kusama's runtimes.
pub(super) const POLKADOT: &str = "gran,babe,para,asgn,audi,beef";

/// Makes keys here, seals them to every member, registers and arms them.
///
/// On a Substrate chain, prints the public keys and the blob for `session.setKeys`: the public keys one after the other,
/// in the order of --types, which must be the order of the chain's runtime (`SessionKeys` in its metadata). Also prints
/// the proof that their holder agrees to be registered by --owner: the keys' signatures of it, in the same order. On a
/// CometBFT chain, prints the public key as `tendermint show-validator` does.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce keys generate --chain polkadot --group validator-2\n  \
    signonce keys generate --chain cosmoshub-4 --group validator-3")]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator they belong to. Rights and the BEEFY shield are by validator.
    #[arg(long)]
    group: String,
    /// The key types to make, in this order. By default babe,gran,para,audi,beef on a Substrate chain, and every type of
    /// the family on others.
    #[arg(long, value_delimiter = ',')]
    types: Vec<KeyType>,
    /// The scheme, where key types can have several. By default the usual one.
    #[arg(long, value_name = "SCHEME", conflicts_with = "for_set_keys")]
    scheme: Option<Scheme>,
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
    // Chains of other families have no session keys, and no ownership proofs to register.
    let statement = match chain.family == &signonce_substrate::FAMILY {
        true => Some(statement(&args.owner, &chain)?),
        false => None,
    };
    let entries = wanted(&args, &chain)?;
    args.confirm.ask(plan(&args, &entries, &chain, members))?;
    let fresh = Fresh::make(&entries, args.scheme, &chain, &args.group, statement.as_ref())?;
    let made = fresh.made.clone();
    fresh.enroll(&admin, &chain).await?;
    let (value, text) = match statement {
        Some(_) => of_session(&args, &chain, &made),
        None => of_keys(&args, &chain, &made),
    };
    args.reach.output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

/// What to make.
fn wanted(args: &Args, chain: &Chain) -> Result<Vec<Entry>, Usage> {
    let is_substrate = chain.family == &signonce_substrate::FAMILY;
    if args.for_set_keys && !is_substrate {
        let why =
            format!("--for-set-keys: {} is a {} chain, which has no session keys", chain.name, chain.family);
        return Err(Usage(why));
    }
    if args.for_set_keys {
        return entries(&args.order, &args.elsewhere);
    }
    let types = match (args.types.is_empty(), is_substrate) {
        (false, _) => args.types.clone(),
        (true, true) => vec![BABE, GRANDPA, PARA, AUTHORITY_DISCOVERY, BEEFY],
        (true, false) => chain.family.key_types.iter().map(|spec| spec.id).collect(),
    };
    check_types(&types, chain)?;
    check_scheme(&types, args.scheme)?;
    Ok(types.into_iter().map(Entry::Ours).collect())
}

/// The result where keys are registered as a set.
fn of_session(args: &Args, chain: &Chain, made: &MadeSet) -> (Value, String) {
    let value = json!({
        "chain": chain.name, "group": args.group, "keys": made.keys,
        "sessionKeys": made.session_keys, "ownershipProof": made.ownership_proof,
    });
    (value, made.describe())
}

/// The result where each key is registered by itself, in the form that the chain's own tools take.
fn of_keys(args: &Args, chain: &Chain, made: &MadeSet) -> (Value, String) {
    let keys = made.keys.iter().map(|key| show::with_shown(json!(key), key.scheme, &key.id.public));
    let value = json!({ "chain": chain.name, "group": args.group, "keys": keys.collect::<Vec<_>>() });
    let mut text = made.describe_keys();
    for key in &made.keys {
        let shown = show::shown(key.scheme, &key.id.public);
        let _ = write!(
            text,
            "\n{}, as the chain's tools take it (`signonce keys show` prints it again):\n{shown}\n",
            key.id
        );
    }
    (value, text)
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

fn check_scheme(types: &[KeyType], asked: Option<Scheme>) -> Result<(), Usage> {
    let Some(scheme) = asked else { return Ok(()) };
    match types.iter().find(|key_type| !key_type.schemes().contains(&scheme)) {
        Some(other) => {
            let own: Vec<_> = other.schemes().iter().map(ToString::to_string).collect();
            Err(Usage(format!("--scheme: a {other} key is never {scheme}; it can be {}", own.join(", "))))
        }
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
