//! The check before anything else: no slashable key may be in the node's own keystore directory, since a node that can
//! sign by itself is a second signer that the cluster does not know of.

use crate::start::StartError;
use signonce_protocol::HexBytes;
use std::path::{Path, PathBuf};

/// The key types that can be slashed for signing twice, as key file names begin with them.
///
/// Others may stay: `asgn` must (it needs the secret in the node), and signing twice with `audi` or `imon` harms
/// nobody.
const SLASHABLE: [&str; 5] = ["babe", "gran", "beef", "aura", "para"];

/// Refuses a keystore directory with slashable keys in it; all of them are named.
///
/// # Errors
/// [`StartError::KeyFiles`], or [`StartError::KeystoreDir`] if it cannot be read. A directory that is missing is empty.
pub(crate) fn no_slashable_keys_in(dir: &Path) -> Result<(), StartError> {
    let cannot_read = |source| StartError::KeystoreDir { dir: dir.into(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot_read(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot_read)?.path();
        if let Some(key) = path.file_name().and_then(|name| slashable_key(name.to_str()?)) {
            files.push(KeyFile { path, key });
        }
    }
    files.sort();
    if files.is_empty() {
        Ok(())
    } else {
        Err(StartError::KeyFiles { dir: dir.into(), files: KeyFiles(files) })
    }
}

/// The key in a file of this name, as `type:0xpublic`, if it can be slashed. A name is `hex(type) ‖ hex(public)`.
fn slashable_key(name: &str) -> Option<String> {
    let HexBytes(bytes) = format!("0x{name}").parse().ok()?;
    let (key_type, public) = bytes.split_first_chunk::<4>()?;
    let key_type = SLASHABLE.into_iter().find(|slashable| slashable.as_bytes() == key_type)?;
    (!public.is_empty()).then(|| format!("{key_type}:{}", HexBytes(public.to_vec())))
}

/// One key file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct KeyFile {
    path: PathBuf,
    /// `type:0xpublic`.
    key: String,
}

/// Key files that must not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles(Vec<KeyFile>);

impl KeyFiles {
    /// The paths of the files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|file| file.path.as_path())
    }
}

impl std::fmt::Display for KeyFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, KeyFile { path, key }) in self.0.iter().enumerate() {
            write!(f, "{}{} ({key})", if at == 0 { "" } else { ", " }, path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, gone afterwards.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("signonce-keystore-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn put(&self, name: &str) {
            std::fs::write(self.0.join(name), "\"secret phrase\"").unwrap();
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn only_files_named_after_slashable_keys_count() {
        let public = "ab".repeat(32);
        for (prefix, found) in [
            ("62616265", Some("babe")),
            ("6772616e", Some("gran")),
            ("6772616E", Some("gran")),
            ("62656566", Some("beef")),
            ("61757261", Some("aura")),
            ("70617261", Some("para")),
            ("6173676e", None),
            ("61756469", None),
            ("696d6f6e", None),
        ] {
            let expected = found.map(|name| format!("{name}:0x{public}"));
            assert_eq!(slashable_key(&format!("{prefix}{public}")), expected, "{prefix}");
        }
        for name in ["62616265", "babe", "README", "", "6261626", "62616265zz"] {
            assert_eq!(slashable_key(name), None, "{name}");
        }
    }

    #[test]
    fn every_slashable_file_is_named_with_what_to_do_and_without_what_is_in_it() {
        let dir = Dir::new("named");
        dir.put(&format!("62616265{}", "01".repeat(32)));
        dir.put(&format!("62656566{}", "02".repeat(33)));
        dir.put(&format!("6173676e{}", "03".repeat(32)));
        let error = no_slashable_keys_in(&dir.0).unwrap_err().to_string();
        for part in
            ["babe:0x0101", "beef:0x0202", "signonce keys import", "destroy", &dir.0.display().to_string()]
        {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(!error.contains("asgn") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_directory_with_other_keys_or_none_or_that_is_missing_is_fine() {
        let dir = Dir::new("fine");
        assert!(no_slashable_keys_in(&dir.0).is_ok());
        dir.put(&format!("6173676e{}", "03".repeat(32)));
        assert!(no_slashable_keys_in(&dir.0).is_ok());
        assert!(no_slashable_keys_in(&dir.0.join("missing")).is_ok());
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let dir = Dir::new("file");
        dir.put("plain");
        let error = no_slashable_keys_in(&dir.0.join("plain")).unwrap_err();
        assert!(matches!(error, StartError::KeystoreDir { .. }), "{error}");
    }
}
