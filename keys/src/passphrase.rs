//! The passphrase of a node identity: from a file, or from the credentials that the service manager provides.

use crate::bounded;
use secrecy::SecretString;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroize as _;

/// The credential's name (`LoadCredential=signonce-unlock:…` in a systemd unit, or a file of that name in a mounted
/// Kubernetes secret that `CREDENTIALS_DIRECTORY` names).
pub const CREDENTIAL_NAME: &str = "signonce-unlock";

/// The variable that names the directory of credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Longest passphrase file read, in bytes.
const MAX_BYTES: usize = 4096;

/// Where to read a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A file; one newline at its end is not part of the passphrase.
    File(PathBuf),
    /// The file [`CREDENTIAL_NAME`] in the directory that `$CREDENTIALS_DIRECTORY` names, read in the same way.
    Credential,
}

/// Why there is no passphrase. Never holds one.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The environment names no directory of credentials.
    #[error(
        "no passphrase: $CREDENTIALS_DIRECTORY is not set; give the signer the credential {CREDENTIAL_NAME:?} \
         (systemd `LoadCredential=`), or name a passphrase file"
    )]
    NoCredentials,
    /// The file cannot be read.
    #[error("cannot read the passphrase file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is empty.
    #[error("the passphrase file {0} is empty")]
    Empty(PathBuf),
    /// The file is not text.
    #[error("the passphrase file {0} is not UTF-8 text")]
    NotText(PathBuf),
}

impl PassphraseSource {
    /// Reads the passphrase.
    pub fn read(&self) -> Result<SecretString, PassphraseError> {
        match self {
            Self::File(path) => read(path),
            Self::Credential => read_credential(std::env::var_os(CREDENTIALS_DIRECTORY)),
        }
    }
}

fn read_credential(directory: Option<OsString>) -> Result<SecretString, PassphraseError> {
    let directory = directory.filter(|d| !d.is_empty()).ok_or(PassphraseError::NoCredentials)?;
    read(&Path::new(&directory).join(CREDENTIAL_NAME))
}

fn read(path: &Path) -> Result<SecretString, PassphraseError> {
    let text = read_text(path)?;
    let trimmed = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text);
    if trimmed.is_empty() {
        return Err(PassphraseError::Empty(path.into()));
    }
    Ok(SecretString::from(trimmed))
}

/// The content of a small text file, wiped when dropped.
pub(crate) fn read_text(path: &Path) -> Result<zeroize::Zeroizing<String>, PassphraseError> {
    let mut bytes = bounded::read_file(path, MAX_BYTES)
        .map_err(|source| PassphraseError::Unreadable { path: path.into(), source })?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(zeroize::Zeroizing::new(text)),
        Err(e) => {
            e.into_bytes().zeroize();
            Err(PassphraseError::NotText(path.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn one_newline_at_the_end_is_trimmed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        for (content, passphrase) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("a\r", "a\r")]
        {
            std::fs::write(&path, content).unwrap();
            let got = PassphraseSource::File(path.clone()).read().unwrap();
            assert_eq!(got.expose_secret(), passphrase, "{content:?}");
        }
    }

    #[test]
    fn each_missing_passphrase_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CREDENTIAL_NAME);
        let here = || read_credential(Some(dir.path().into()));
        assert!(matches!(read_credential(None), Err(PassphraseError::NoCredentials)));
        assert!(matches!(read_credential(Some("".into())), Err(PassphraseError::NoCredentials)));
        assert!(matches!(here(), Err(PassphraseError::Unreadable { .. })));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(here(), Err(PassphraseError::Empty(_))));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(here(), Err(PassphraseError::NotText(_))));
        std::fs::write(&path, vec![b'a'; MAX_BYTES + 1]).unwrap();
        assert!(matches!(here(), Err(PassphraseError::Unreadable { .. })));
        std::fs::write(&path, "open sesame\n").unwrap();
        assert_eq!(here().unwrap().expose_secret(), "open sesame");
    }
}
