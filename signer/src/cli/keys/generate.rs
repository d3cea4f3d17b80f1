//! `signonce keys generate`: session keys that never were anywhere else.

use super::{find_chain, floors::describe};
use crate::{
    admin::client::CallError,
    cli::common::{Confirm, Done, Reach, Usage, table},
    enroll::{EnrollError, NewKey, enroll, new_key_floors, recipients},
};
use serde_json::json;
use signonce_cluster::clock::unix_ms;
use signonce_core::Chain;
use signonce_keys::SecretKey;
use signonce_protocol::{
    HexBytes, KeyId, KeyType, Payload, PayloadKind,
    payload::{Content, OwnershipProof},
};
use std::process::ExitCode;

/// Makes session keys in this process, seals them to every member, registers and arms them.
///
/// Prints the public keys and the session-key blob for `session.setKeys`: the public keys one after the other, in the
/// order of --types, which must be the order of the chain's runtime (`SessionKeys` in its metadata). And the proof that
/// their holder agrees to be registered by --owner: the keys' signatures of it, in the same order.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator they belong to. Rights and the BEEFY shield go by it.
    #[arg(long)]
    group: String,
    /// The key types, in the order of the runtime's session keys. The usual order of Polkadot and Kusama leaves out
    /// `asgn`, whose key stays on the validator: put its public key into the blob at its place.
    #[arg(long, value_delimiter = ',', default_value = "babe,gran,para,audi,beef")]
    types: Vec<KeyType>,
    /// The account that will call `session.setKeys`, as the runtime encodes it (its 32-byte public key on most
    /// chains). The ownership proofs are for it; without it they are for nobody in particular.
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
    let recipients = recipients(&admin).await?;
    check_types(&args.types)?;
    let statement = statement(&args.owner, &chain)?;
    args.confirm.ask(plan(&args, &chain, recipients.len()))?;
    let mut made = Vec::new();
    for key_type in &args.types {
        let Some(scheme) = key_type.schemes().first() else { continue };
        let secret = SecretKey::generate(*scheme)?;
        let id = KeyId { key_type: *key_type, public: secret.public() };
        let floors = new_key_floors(*key_type, &chain, unix_ms());
        let proof = secret.sign(statement.to_sign())?;
        let key = NewKey { id, secret, group: Some(args.group.clone()), floors };
        let enrolled = enroll(&admin, chain.genesis, &recipients, &key).await;
        if let Err(EnrollError::Call(CallError::Proposed { id })) = enrolled {
            eprintln!("{} signs once another key officer says so: signonce proposals approve {id}", key.id);
        } else if let Err(error) = enrolled {
            let done = made.iter().map(|(id, ..): &(KeyId, _, _, _)| id.to_string()).collect::<Vec<_>>();
            let so_far = if done.is_empty() { "none".to_owned() } else { done.join(", ") };
            return Err(anyhow::Error::from(error).context(format!("at {id}; made before it: {so_far}")));
        }
        made.push((id, *scheme, floors, proof));
    }
    let blob: String = made.iter().map(|(id, ..)| hex::encode(id.public.as_bytes())).collect();
    let proofs: String = made.iter().map(|(.., proof)| hex::encode(proof.as_bytes())).collect();
    let rows = made.iter().map(|(id, scheme, floors, _)| {
        [id.key_type.to_string(), scheme.to_string(), id.public.to_string(), describe(floors)]
    });
    let text = format!(
        "{}\nSession keys, in this order, for `session.setKeys`:\n  0x{blob}\nOwnership proof, in this order:\n  0x{proofs}",
        table(["TYPE", "SCHEME", "PUBLIC KEY", "SIGNS"], rows)
    );
    let keys = made.iter().map(|(id, scheme, floors, _)| {
        json!({ "type": id.key_type, "scheme": scheme, "public": id.public, "floors": floors })
    });
    let value = json!({
        "chain": chain.name, "group": args.group, "keys": keys.collect::<Vec<_>>(),
        "sessionKeys": format!("0x{blob}"), "ownershipProof": format!("0x{proofs}"),
    });
    args.reach.output.print(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

/// What every key signs to prove that it agrees.
fn statement(owner: &HexBytes, chain: &Chain) -> Result<Payload, Usage> {
    let content = Content::OwnershipProof(OwnershipProof { owner: owner.0.clone() });
    let bytes = content.encode(&chain.format);
    Payload::decode(PayloadKind::OwnershipProof, &bytes, &chain.format)
        .map_err(|error| Usage(format!("--owner: {error}")))
}

fn check_types(types: &[KeyType]) -> Result<(), Usage> {
    let twice = types.iter().enumerate().find(|(i, key_type)| types[..*i].contains(key_type));
    match twice {
        Some((_, key_type)) => Err(Usage(format!("--types names {key_type} twice"))),
        None => Ok(()),
    }
}

fn plan(args: &Args, chain: &Chain, members: usize) -> String {
    let types = args.types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "Will make {} new keys ({types}) on chain {} for {:?}, sealed to {members} members, and arm them.",
        args.types.len(),
        chain.name,
        args.group
    )
}
