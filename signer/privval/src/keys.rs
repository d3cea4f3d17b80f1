//! Which key answers for a chain, and the file of public keys that were known last.
//!
//! A node names its chain and never its key. A validator has one key on a chain; where a client may use several, an
//! operator says which ones its nodes have.

use signonce_cometbft::{CONSENSUS, genesis_of};
use signonce_protocol::{KeyState, PublicKey, rpc::KeyInfo};
use std::{fs, io::Write as _, path::PathBuf};

/// The keys that an operator allows; empty allows all.
pub type KeyFilter = Vec<PublicKey>;

/// Why no key answers for a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error(
        "the signers list no consensus key of chain {0:?} for this client: check the node's chain-id, the chain and the key at \
         the signers, and the client's rights (signonce clients)"
    )]
    Unknown(String),
    #[error("this node is of chain {0:?}, and this front was told to answer it for {1:?} only")]
    OtherChain(String, String),
    #[error(
        "this client may use several keys of chain {chain:?}: {keys}; say which one its nodes have, with --key"
    )]
    Several { chain: String, keys: String },
}

/// The key that answers for the chain with this chain-id.
pub(crate) fn key_of<'a>(
    keys: &'a [KeyInfo],
    allowed: &[PublicKey],
    chain: &str,
) -> Result<&'a KeyInfo, NoKey> {
    let genesis = genesis_of(chain);
    let found: Vec<_> = keys
        .iter()
        .filter(|key| key.key_type == CONSENSUS && key.genesis == genesis && key.state != KeyState::Removed)
        .filter(|key| allowed.is_empty() || allowed.contains(&key.public))
        .collect();
    match found[..] {
        [key] => Ok(key),
        [] => Err(NoKey::Unknown(chain.to_owned())),
        [_, _, ..] => {
            let keys: Vec<_> = found.iter().map(|key| key.public.to_string()).collect();
            Err(NoKey::Several { chain: chain.to_owned(), keys: keys.join(", ") })
        }
    }
}

/// The file that keeps the list of keys over a restart of the front, so that a node which starts while no signer can be
/// reached gets its public key: without one it ends. It holds no secret, and nothing is signed because of it.
pub struct KnownFile(PathBuf);

impl KnownFile {
    /// The file in this directory.
    pub fn in_directory(directory: &std::path::Path) -> Self {
        Self(directory.join("known-keys.json"))
    }

    /// The keys in it; `None` if there is no file that can be read.
    pub(crate) fn read(&self) -> Option<Vec<KeyInfo>> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Keeps these keys. A failure is logged: only the next start may need them.
    pub(crate) fn write(&self, keys: &[KeyInfo]) {
        if self.read().as_deref() == Some(keys) {
            return;
        }
        let written = serde_json::to_vec_pretty(keys).map_err(std::io::Error::from).and_then(|text| {
            let new = self.0.with_extension("new");
            let mut file = fs::File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.0)
        });
        if let Err(error) = written {
            tracing::warn!(file = %self.0.display(), %error, "the list of known keys cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_cometbft::{ED25519, install};

    fn key(chain: &str, n: u8, state: KeyState) -> KeyInfo {
        install();
        KeyInfo {
            chain: "the operator's name".into(),
            genesis: genesis_of(chain),
            key_type: CONSENSUS,
            scheme: ED25519,
            public: PublicKey::try_from([n; 32].as_slice()).unwrap(),
            state,
            group: None,
            classes: Vec::new(),
            watermarks: Vec::new(),
        }
    }

    #[test]
    fn the_one_key_of_the_chain_answers_whatever_the_operator_calls_the_chain() {
        let keys = [key("a-1", 1, KeyState::Armed), key("b-1", 2, KeyState::Armed)];
        assert_eq!(key_of(&keys, &[], "b-1"), Ok(&keys[1]));
        assert_eq!(key_of(&keys, &[], "b-2"), Err(NoKey::Unknown("b-2".into())));
    }

    #[test]
    fn where_there_are_several_the_operator_says_which_one_it_is() {
        let keys =
            [key("a", 1, KeyState::Armed), key("a", 2, KeyState::Armed), key("a", 3, KeyState::Removed)];
        assert!(matches!(key_of(&keys, &[], "a"), Err(NoKey::Several { .. })));
        assert_eq!(key_of(&keys, &[keys[1].public], "a"), Ok(&keys[1]));
        assert_eq!(key_of(&keys, &[keys[2].public], "a"), Err(NoKey::Unknown("a".into())));
    }

    #[test]
    fn the_file_gives_back_what_was_known_and_nothing_where_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let file = KnownFile::in_directory(directory.path());
        assert_eq!(file.read(), None);
        let keys = vec![key("a", 1, KeyState::Armed)];
        file.write(&keys);
        assert_eq!(file.read(), Some(keys));
        fs::write(&file.0, "[{").unwrap();
        assert_eq!(file.read(), None);
    }
}
