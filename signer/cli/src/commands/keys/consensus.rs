//! The files of a CometBFT validator as the source of its key: the key file, and the state file that says what the key
//! signed last.

use super::source::{Found, History};
use anyhow::Context as _;
use signonce_cometbft::{LastSigned, MAX_STATE_BYTES, Software};
use signonce_keys::read_consensus_key;
use signonce_protocol::Scheme;
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// The files, and what was said of them.
pub(super) struct ConsensusFiles {
    pub key: PathBuf,
    pub state: Option<PathBuf>,
    pub software: Option<Software>,
    pub scheme: Option<Scheme>,
}

impl ConsensusFiles {
    /// What cannot be seen of a state file.
    const CAUTION: &'static str = "\
The state file must be the LAST one, taken after the old signer was stopped: it cannot be seen here whether the key
has signed more since, nor what the chain has. Whatever the key signed past it could be contradicted, and the
validator would be tombstoned.
";

    /// The last step of retiring the old copy.
    pub const THEN: &'static str = "start the node with priv_validator_laddr, so that it waits for the signers; it never again \
                                    gets this key in a file of its own";

    /// What the plan says of what cannot be seen from here.
    pub fn caution(&self) -> &'static str {
        if self.state.is_some() { Self::CAUTION } else { "" }
    }

    /// Reads both files.
    ///
    /// # Errors
    /// If one of them is not what it should be.
    pub fn read(&self) -> anyhow::Result<Found> {
        let nothing = |file: &Path| format!("nothing was imported, because of {}", file.display());
        let key =
            read_consensus_key(&self.key, self.software, self.scheme).with_context(|| nothing(&self.key))?;
        let history = match &self.state {
            None => History::Unknown { or: "--state with the state file that the old signer left, or " },
            Some(file) => {
                let bytes = read_public(file).with_context(|| nothing(file))?;
                let last = LastSigned::read(&bytes, self.software).with_context(|| nothing(file))?;
                last.position().map_or(History::Fresh, History::UpTo)
            }
        };
        // The full path, because the file to destroy is named later, and perhaps pasted elsewhere.
        let path = self.key.canonicalize().unwrap_or_else(|_| self.key.clone());
        Ok(Found { path, key, history })
    }
}

/// Reads a regular file without secrets. One byte more than the most that is accepted, so that the reader sees it.
fn read_public(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_STATE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
