//! A validator's session keys, known before the chain is: their public parts go into the chain's genesis, whose hash
//! the signers need before they take the keys.

use anyhow::Context as _;
use serde_json::{Value, json};
use signonce_protocol::{KeyType, PublicKey};
use signonce_substrate::{AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE};
use sp_core::{Pair as _, crypto::Ss58Codec as _, ecdsa, ed25519, sr25519};
use std::path::Path;

/// The session keys of one validator, all of one seed.
#[derive(Clone)]
pub struct ValidatorKeys {
    /// What the cluster and people call the validator.
    pub name: String,
    seed: String,
    /// BABE, authority discovery and heartbeats.
    pub sr25519: [u8; 32],
    /// GRANDPA.
    pub ed25519: [u8; 32],
    /// BEEFY.
    pub ecdsa: [u8; 33],
}

impl ValidatorKeys {
    /// New keys.
    ///
    /// # Errors
    /// Never for a seed of 32 bytes, says the library.
    pub fn generate(name: &str) -> anyhow::Result<Self> {
        signonce_substrate::install();
        let seed = format!("0x{}", hex::encode(rand::random::<[u8; 32]>()));
        let no_key = "a seed of 32 bytes makes a key";
        Ok(Self {
            name: name.to_owned(),
            sr25519: sr25519::Pair::from_string(&seed, None).ok().context(no_key)?.public().0,
            ed25519: ed25519::Pair::from_string(&seed, None).ok().context(no_key)?.public().0,
            ecdsa: ecdsa::Pair::from_string(&seed, None).ok().context(no_key)?.public().0,
            seed,
        })
    }

    /// New keys of a phrase, which with another password than this one are other keys.
    ///
    /// # Errors
    /// Never for a phrase that was just made, says the library.
    pub fn generate_with_password(name: &str, password: &str) -> anyhow::Result<Self> {
        let (pair, seed, _) = sr25519::Pair::generate_with_phrase(Some(password));
        let no_key = "a phrase makes a key";
        Ok(Self {
            name: name.to_owned(),
            sr25519: pair.public().0,
            ed25519: ed25519::Pair::from_string(&seed, Some(password)).ok().context(no_key)?.public().0,
            ecdsa: ecdsa::Pair::from_string(&seed, Some(password)).ok().context(no_key)?.public().0,
            seed,
        })
    }

    /// The seed, for a node that keeps its keys itself.
    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// One of the public keys.
    ///
    /// # Errors
    /// For types the chain does not have.
    pub fn public(&self, key_type: KeyType) -> anyhow::Result<PublicKey> {
        Ok(PublicKey::try_from(self.bytes(key_type))?)
    }

    fn bytes(&self, key_type: KeyType) -> &[u8] {
        match key_type {
            GRANDPA => &self.ed25519,
            BEEFY => &self.ecdsa,
            _ => &self.sr25519,
        }
    }

    /// What GRANDPA's RPC calls the validator.
    pub fn grandpa_address(&self) -> String {
        ed25519::Public::from_raw(self.ed25519).to_ss58check()
    }

    /// The validator as the chain's genesis has it.
    pub fn genesis(&self) -> Value {
        let hex = |key_type| format!("0x{}", hex::encode(self.bytes(key_type)));
        json!({
            "babe": hex(BABE),
            "grandpa": hex(GRANDPA),
            "beefy": hex(BEEFY),
            "authorityDiscovery": hex(AUTHORITY_DISCOVERY),
            "imOnline": hex(IM_ONLINE),
        })
    }

    /// Writes a keystore directory as a validator has one.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_keystore(&self, dir: &Path) -> anyhow::Result<()> {
        self.write_keystore_of(&TYPES, dir)
    }

    /// The same with keys of these types.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_keystore_of(&self, types: &[KeyType], dir: &Path) -> anyhow::Result<()> {
        for key_type in types {
            let name = format!("{}{}", hex::encode(key_type.name()), hex::encode(self.bytes(*key_type)));
            let path = dir.join(name);
            std::fs::write(&path, json!(self.seed).to_string())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The types of a validator of the test chain.
pub const TYPES: [KeyType; 5] = [BABE, GRANDPA, BEEFY, AUTHORITY_DISCOVERY, IM_ONLINE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keystore_has_one_file_a_type_named_after_its_public_key() {
        let keys = ValidatorKeys::generate("validator-1").unwrap();
        let dir = tempfile::tempdir().unwrap();
        keys.write_keystore(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), TYPES.len());
        let grandpa = dir.path().join(format!("6772616e{}", hex::encode(keys.ed25519)));
        let text = std::fs::read_to_string(grandpa).unwrap();
        assert_eq!(text, format!("\"{}\"", keys.seed()));
    }

    #[test]
    fn no_two_validators_share_a_key() {
        let keys = [(); 2].map(|()| ValidatorKeys::generate("v").unwrap());
        assert_ne!(keys[0].genesis(), keys[1].genesis());
        assert_eq!(keys[0].public(BEEFY).unwrap().as_bytes(), keys[0].ecdsa);
    }
}
