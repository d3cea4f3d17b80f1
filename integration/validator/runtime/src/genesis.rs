//! What a chain starts with: its validators and their session keys.
//!
//! [`state`] makes the genesis of a chain of given [`Validator`]s. The presets [`DEV`] and [`LOCAL`] are chains of one
//! and four validators with the well-known development keys.

use crate::{AccountId, BABE_GENESIS_EPOCH_CONFIG, Balance, SessionKeys};
use alloc::{string::ToString, vec, vec::Vec};
use polkadot_sdk::*;
use serde_json::{Value, json};
use sp_core::Pair;
use sp_genesis_builder::PresetId;
use sp_keyring::{Ed25519Keyring, Sr25519Keyring};

/// One validator, Alice.
pub const DEV: &str = "dev";
/// Four validators: Alice, Bob, Charlie, Dave.
pub const LOCAL: &str = "local";
/// What each account has: enough for any number of transactions.
const ENDOWMENT: Balance = 1 << 60;

/// A validator of the genesis.
#[derive(Clone, Debug)]
pub struct Validator {
    pub account: AccountId,
    pub keys: SessionKeys,
}

/// The genesis of a chain of these validators, as a patch to the runtime's default. Alice is its superuser.
pub fn state(validators: &[Validator]) -> Value {
    let mut accounts: Vec<_> = validators.iter().map(|validator| validator.account.clone()).collect();
    let alice = Sr25519Keyring::Alice.to_account_id();
    let candidates = accounts.clone();
    if !accounts.contains(&alice) {
        accounts.push(alice.clone());
    }
    let keys: Vec<_> = validators
        .iter()
        .map(|validator| (validator.account.clone(), validator.account.clone(), validator.keys.clone()))
        .collect();
    json!({
        "babe": { "epochConfig": BABE_GENESIS_EPOCH_CONFIG },
        "balances": {
            "balances": accounts.into_iter().map(|account| (account, ENDOWMENT)).collect::<Vec<_>>(),
        },
        "beefy": { "genesisBlock": 1 },
        "rotation": { "candidates": candidates },
        "session": { "keys": keys },
        "sudo": { "key": alice },
    })
}

/// The names of the presets.
pub fn preset_names() -> Vec<PresetId> {
    vec![DEV.into(), LOCAL.into()]
}

/// The preset of this name as JSON.
pub fn preset(id: &PresetId) -> Option<Vec<u8>> {
    let count = match id.as_ref() {
        DEV => 1,
        LOCAL => 4,
        _ => return None,
    };
    let all = [Sr25519Keyring::Alice, Sr25519Keyring::Bob, Sr25519Keyring::Charlie, Sr25519Keyring::Dave];
    let validators: Vec<_> = all.into_iter().take(count).map(well_known).collect();
    Some(state(&validators).to_string().into_bytes())
}

/// The validator with the development keys of this name.
fn well_known(name: Sr25519Keyring) -> Validator {
    let suri = name.to_seed();
    let beefy =
        sp_core::ecdsa::Pair::from_string(&suri, None).expect("a name of the keyring is a valid seed");
    let grandpa = Ed25519Keyring::iter()
        .find(|other| other.to_seed() == suri)
        .expect("both keyrings know the same names");
    Validator {
        account: name.to_account_id(),
        keys: SessionKeys {
            babe: name.public().into(),
            grandpa: grandpa.public().into(),
            beefy: beefy.public().into(),
            authority_discovery: name.public().into(),
            im_online: name.public().into(),
        },
    }
}
