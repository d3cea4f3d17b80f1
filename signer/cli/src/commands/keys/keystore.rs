//! A keystore directory as the source of keys: its password, which keys are wanted, and what they are.

use super::source::{Found, History, Skipped};
use crate::commands::common::Usage;
use signonce_keys::{KeystoreProblem, SecretString, read_dir, read_password_file};
use signonce_protocol::KeyType;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The most files that a refusal lists, as the directory may hold thousands.
const LISTED: usize = 100;
/// How many levels below a directory keystores are searched for: `<base path>/data/chains/<id>/keystore` is four.
const DEEP: usize = 4;
/// How many directories of a level are searched.
const WIDE: usize = 200;

/// The options beside the directory.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct KeystoreOptions {
    /// The file with the keystore's password, used as it is (a final newline is part of it, as in Substrate).
    #[arg(long, value_name = "FILE", conflicts_with = "password_interactive")]
    password_file: Option<PathBuf>,
    /// Ask for the keystore's password.
    #[arg(long)]
    password_interactive: bool,
    /// Import only these types.
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    types: Vec<KeyType>,
}

/// A keystore directory.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Keystore {
    /// The keystore: `chains/<id>/keystore` in the validator's base path.
    dir: PathBuf,
    #[command(flatten)]
    options: KeystoreOptions,
}

impl Keystore {
    /// The directory, with these options.
    pub fn new(dir: PathBuf, options: KeystoreOptions) -> Self {
        Self { dir, options }
    }

    /// The full path, because the files to destroy are listed later, and perhaps pasted elsewhere.
    pub fn directory(&self) -> PathBuf {
        self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone())
    }

    /// The keys with their files, and the files that hold no such key, with reasons.
    ///
    /// # Errors
    /// If a file that should hold a key holds no usable one, or there is none at all. The error then lists everything
    /// in the directory, with reasons.
    pub fn read(&self) -> anyhow::Result<(Vec<Found>, Vec<Skipped>)> {
        let password = self.password()?;
        let (mut keys, mut skipped, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for entry in read_dir(&self.directory(), password.as_ref())? {
            let file = entry.path;
            match entry.found {
                Err(
                    why @ (KeystoreProblem::NotAKeyFile
                    | KeystoreProblem::AlmostAKeyFile { .. }
                    | KeystoreProblem::UnheldType(_)),
                ) => skipped.push(Skipped { file, why: why.to_string() }),
                _ if !is_wanted(&file, &self.options.types) => {
                    skipped.push(Skipped { file, why: "its type is not among --types".into() });
                }
                Ok(key) => keys.push(Found { path: file, key, history: History::Unknown { or: "" } }),
                Err(why) => wrong.push(Skipped { file, why: why.to_string() }),
            }
        }
        if !wrong.is_empty() {
            let rest =
                if skipped.is_empty() { String::new() } else { listed("\nLeft out besides:", &skipped) };
            anyhow::bail!(
                "{}{rest}",
                listed("nothing was imported, because these files have no key that can be used:", &wrong)
            );
        }
        if keys.is_empty() {
            return Err(Usage(self.nothing(&skipped)).into());
        }
        Ok((keys, skipped))
    }

    /// What to say when there is nothing to import.
    fn nothing(&self, skipped: &[Skipped]) -> String {
        let dir = self.directory();
        let what = format!("nothing was imported: there is no key to import in {}", dir.display());
        let mut text = match skipped {
            [] => format!("{what}, which is empty"),
            some => listed(&format!("{what}:"), some),
        };
        for found in keystores_below(&dir) {
            let _ = write!(text, "\nA keystore lies below it; did you mean {}?", found.display());
        }
        text
    }

    fn password(&self) -> anyhow::Result<Option<SecretString>> {
        if self.options.password_interactive {
            let typed = rpassword::prompt_password("Password of the keystore: ")?;
            return Ok(Some(SecretString::from(typed)));
        }
        Ok(self.options.password_file.as_deref().map(read_password_file).transpose()?)
    }
}

/// A list of files with reasons, one on each line.
fn listed(head: &str, files: &[Skipped]) -> String {
    let mut text = head.to_owned();
    for Skipped { file, why } in files.iter().take(LISTED) {
        let _ = write!(text, "\n  {}: {why}", file.display());
    }
    if files.len() > LISTED {
        let _ = write!(text, "\n  and {} more", files.len() - LISTED);
    }
    text
}

/// The directories `chains/<id>/keystore` below this one: people give the base path, or `chains/<id>`, or `data` in it.
fn keystores_below(dir: &Path) -> Vec<PathBuf> {
    let mut level = vec![dir.to_owned()];
    let mut found = Vec::new();
    for _ in 0..DEEP {
        let entries = level.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        let below: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .take(WIDE)
            .collect();
        found.extend(below.iter().filter(|path| is_keystore(path)).cloned());
        level = below;
    }
    found.sort();
    found
}

/// Whether a path ends in `chains/<id>/keystore`.
fn is_keystore(path: &Path) -> bool {
    let named = |path: Option<&Path>, name: &str| path.and_then(Path::file_name).is_some_and(|n| n == name);
    named(Some(path), "keystore") && named(path.ancestors().nth(2), "chains")
}

/// Whether the file's name says that its key is of a wanted type. A name starts with the type, in hex.
fn is_wanted(path: &Path, types: &[KeyType]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    types.is_empty() || types.iter().any(|key_type| name.starts_with(&hex::encode(key_type.name())))
}
