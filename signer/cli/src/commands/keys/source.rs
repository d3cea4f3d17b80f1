//! Where imported keys come from: the files of each family's own software.

use super::{
    consensus::ConsensusFiles,
    keystore::{Keystore, KeystoreOptions},
};
use crate::commands::common::Usage;
use serde::Serialize;
use signonce_cometbft::Software;
use signonce_keys::KeystoreKey;
use signonce_protocol::{Chain, Position, Scheme};
use std::path::PathBuf;

/// The options that name the files.
#[derive(clap::Args, Debug)]
pub(super) struct SourceArgs {
    /// Of a Substrate chain: the keystore, `chains/<id>/keystore` in the validator's base path.
    #[arg(required_unless_present = "from")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    keystore: KeystoreOptions,
    /// Of a CometBFT chain: the file with the key, `priv_validator_key.json` or that of tmkms' softsign provider.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "password_file", "password_interactive", "types"])]
    from: Option<PathBuf>,
    /// What the key signed last: `priv_validator_state.json`, or the state file of tmkms. It must be the last one, taken
    /// after the old signer was stopped.
    #[arg(long, value_name = "FILE", requires = "from")]
    state: Option<PathBuf>,
    /// Whose files they are: filepv (a node's own) or tmkms. By default, what they look like.
    #[arg(long, value_name = "SOFTWARE", requires = "from")]
    format: Option<Software>,
    /// The scheme of a key file that does not say it, as those of tmkms. By default Ed25519.
    #[arg(long, value_name = "SCHEME", requires = "from")]
    scheme: Option<Scheme>,
}

/// The files to import, by the software that wrote them.
pub(super) enum Source {
    /// The keystore directory of a Substrate node.
    Keystore(Keystore),
    /// The key and state files of a CometBFT validator.
    Consensus(ConsensusFiles),
}

/// A file that is not imported.
#[derive(Serialize)]
pub(super) struct Skipped {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// A key that can be imported.
pub(super) struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The key.
    pub key: KeystoreKey,
    /// What it signed until now.
    pub history: History,
}

/// What the files say about what a key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// Nothing.
    Unknown {
        /// What would tell, as the beginning of a list of options; may be empty.
        or: &'static str,
    },
    /// That it signed nothing.
    Fresh,
    /// Exactly what it signed last.
    UpTo(Position),
}

impl SourceArgs {
    /// The files, which must be those of the chain's family.
    ///
    /// # Errors
    /// If the options are for chains of another family.
    pub fn source(&self, chain: &Chain) -> Result<Source, Usage> {
        let Self { dir, keystore, from, state, format, scheme } = self;
        let name = &chain.name;
        match (dir, from) {
            (Some(dir), _) if *chain.family == signonce_substrate::FAMILY => {
                Ok(Source::Keystore(Keystore::new(dir.clone(), keystore.clone())))
            }
            (None, Some(key)) if *chain.family == signonce_cometbft::FAMILY => {
                let (key, state) = (key.clone(), state.clone());
                Ok(Source::Consensus(ConsensusFiles { key, state, software: *format, scheme: *scheme }))
            }
            (Some(_), _) => Err(Usage(format!(
                "{name} is a {} chain, whose keys are in no keystore directory: give the key file with --from",
                chain.family
            ))),
            (None, _) => Err(Usage(format!(
                "{name} is a {} chain: --from is for the key files of CometBFT validators; give the keystore directory",
                chain.family
            ))),
        }
    }
}

impl Source {
    /// The keys with their files, and the files that hold no such key, with reasons.
    ///
    /// # Errors
    /// If a file that should hold a key holds no usable one, or there is none at all.
    pub fn read(&self) -> anyhow::Result<(Vec<Found>, Vec<Skipped>)> {
        match self {
            Self::Keystore(keystore) => keystore.read(),
            Self::Consensus(files) => Ok((vec![files.read()?], Vec::new())),
        }
    }

    /// What the plan says of what cannot be seen from here.
    pub fn caution(&self) -> &'static str {
        match self {
            Self::Keystore(_) => "",
            Self::Consensus(files) => files.caution(),
        }
    }

    /// The last step of retiring the old copy.
    pub fn then(&self) -> &'static str {
        match self {
            Self::Keystore(_) => {
                "start the validator with --remote-signer only; never again with a keystore of its own for them"
            }
            Self::Consensus(_) => ConsensusFiles::THEN,
        }
    }
}
