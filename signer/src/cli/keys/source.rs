//! A keystore directory that keys come from: its password, which of its keys are wanted, and what they are.

use crate::cli::common::Usage;
use serde::Serialize;
use signonce_keys::{KeystoreKey, KeystoreProblem, SecretString, read_dir, read_password_file};
use signonce_protocol::KeyType;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Where the keys are.
#[derive(clap::Args, Debug)]
pub(super) struct Source {
    /// The keystore: `chains/<id>/keystore` in the validator's base path.
    dir: PathBuf,
    /// The keystore's password, taken from this file as it is (a last newline is part of it, as in Substrate).
    #[arg(long, value_name = "FILE", conflicts_with = "password_interactive")]
    password_file: Option<PathBuf>,
    /// Ask for the keystore's password.
    #[arg(long)]
    password_interactive: bool,
    /// Import only these types.
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    types: Vec<KeyType>,
}

/// A file that is not imported.
#[derive(Serialize)]
pub(super) struct Skipped {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// A key of the directory.
pub(super) struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The key.
    pub key: KeystoreKey,
}

impl Source {
    /// Whole paths: the files to destroy are listed later, and perhaps pasted elsewhere.
    pub fn directory(&self) -> PathBuf {
        self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone())
    }

    /// The keys with their files, and what is no key of ours and why.
    ///
    /// # Errors
    /// If a file that should hold a key holds no usable one, or there is none at all.
    pub fn read(&self) -> anyhow::Result<(Vec<Found>, Vec<Skipped>)> {
        let password = self.password()?;
        let (mut keys, mut skipped, mut wrong) = (Vec::new(), Vec::new(), String::new());
        for entry in read_dir(&self.directory(), password.as_ref())? {
            let path = entry.path;
            if !is_wanted(&path, &self.types) {
                skipped.push(Skipped { file: path, why: "its type is not among --types".into() });
                continue;
            }
            match entry.found {
                Ok(key) => keys.push(Found { path, key }),
                Err(why @ (KeystoreProblem::NotAKeyFile | KeystoreProblem::UnheldType(_))) => {
                    skipped.push(Skipped { file: path, why: why.to_string() });
                }
                Err(why) => {
                    let _ = write!(wrong, "\n  {}: {why}", path.display());
                }
            }
        }
        if !wrong.is_empty() {
            anyhow::bail!("nothing was imported, because these files have no key that can be used:{wrong}");
        }
        if keys.is_empty() {
            return Err(Usage(format!("there is no key to import in {}", self.dir.display())).into());
        }
        Ok((keys, skipped))
    }

    fn password(&self) -> anyhow::Result<Option<SecretString>> {
        if self.password_interactive {
            let typed = rpassword::prompt_password("Password of the keystore: ")?;
            return Ok(Some(SecretString::from(typed)));
        }
        Ok(self.password_file.as_deref().map(read_password_file).transpose()?)
    }
}

/// Whether the file's name says that its key is of a type asked for. A name starts with the type, in hex.
fn is_wanted(path: &Path, types: &[KeyType]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    types.is_empty() || types.iter().any(|key_type| name.starts_with(&hex::encode(key_type.name())))
}
