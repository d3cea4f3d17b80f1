//! The last list of this node's keys, in a file, for a start while no signer can be reached: much of a node asks once
//! per session whether it has a key, and on Polkadot a session is four hours.
//!
//! The file has only public facts, and none that decide what is signed: the signers decide as always, and a GRANDPA key
//! stays behind its gate until they have reported how far it has signed. A file that is damaged, of another version or
//! of another chain is ignored with a line in the log. It is replaced whole, so that a crash leaves the old one or the
//! new one.

use crate::{LOG, cache::Mine};
use signonce_protocol::{ChainId, DutyClass, HexArray, KeyId, PublicKey, Scheme, blake2_256};
use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// The first line.
const HEAD: &str = "signonce key list, version 1";
/// The file's name in the node's directory.
const NAME: &str = "remote-signer-keys";
/// No list is longer: 10 000 keys take a megabyte and a half.
const MAX_BYTES: u64 = 16 << 20;

/// The file with the list of one chain's keys.
pub(crate) struct KeyFile {
    path: PathBuf,
    genesis: ChainId,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is longer than any list")]
    TooLong,
    #[error("it is no list of keys, or one of another version")]
    Head,
    #[error("it was damaged or cut off: its last line does not fit the others")]
    Checksum,
    #[error("it is of the chain with genesis {0}")]
    OtherChain(String),
    #[error("line {0} cannot be read")]
    Line(usize),
}

impl KeyFile {
    pub(crate) fn in_dir(dir: &Path, genesis: ChainId) -> Self {
        Self { path: dir.join(NAME), genesis }
    }

    /// The keys in it; none, with a line in the log, if it cannot be used.
    pub(crate) fn read(&self) -> Vec<Mine> {
        match self.try_read() {
            Ok(keys) => keys,
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(why) => {
                log::warn!(target: LOG, "the list of keys in {self} is not used: {why}. The signers' list takes its place");
                Vec::new()
            }
        }
    }

    fn try_read(&self) -> Result<Vec<Mine>, Unusable> {
        let mut text = String::new();
        File::open(&self.path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Unusable::TooLong);
        }
        if text.lines().next() != Some(HEAD) {
            return Err(Unusable::Head);
        }
        let body = text.trim_end_matches('\n').rsplit_once('\n').map(|(body, _)| body);
        let body = body.filter(|body| text == sealed(body)).ok_or(Unusable::Checksum)?;
        let mut lines = body.lines().enumerate().skip(1);
        let genesis = lines.next().map_or("", |(_, line)| line);
        if genesis != self.genesis_line() {
            return Err(Unusable::OtherChain(genesis.trim_start_matches("genesis ").to_owned()));
        }
        lines.map(|(at, line)| parse(line).ok_or(Unusable::Line(at + 1))).collect()
    }

    fn genesis_line(&self) -> String {
        format!("genesis {}", self.genesis)
    }

    /// Replaces the list.
    pub(crate) fn write(&self, keys: &[Mine]) -> io::Result<()> {
        let mut body = format!("{HEAD}\n{}", self.genesis_line());
        for key in keys {
            let classes: Vec<_> = key.classes().iter().map(|class| class.name()).collect();
            // A String takes everything.
            let _ = write!(body, "\n{} {} {}", key.id, key.scheme, classes.join(","));
        }
        let unfinished = self.path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(sealed(&body).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The whole file: the body, and a last line that reveals damage.
fn sealed(body: &str) -> String {
    format!("{body}\nblake2 {}\n", HexArray(blake2_256(body.as_bytes())))
}

/// `type:0xpublic scheme class,class`
fn parse(line: &str) -> Option<Mine> {
    let mut words = line.split(' ');
    let (id, scheme, classes) = (words.next()?, words.next()?, words.next()?);
    let (key_type, public) = id.split_once(':')?;
    let id = KeyId { key_type: key_type.parse().ok()?, public: public.parse::<PublicKey>().ok()? };
    let scheme = scheme.parse::<Scheme>().ok()?;
    let classes: Result<Vec<DutyClass>, _> = classes.split(',').map(str::parse).collect();
    let fits = id.key_type.schemes().contains(&scheme) && id.public.as_bytes().len() == scheme.public_len();
    (words.next().is_none() && fits).then_some(Mine::listed(id, scheme, classes.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{GENESIS, TempDir, id};
    use signonce_substrate::{BABE, BABE_BLOCK, BABE_VRF, BEEFY, BEEFY_VOTE, ECDSA, SR25519};

    fn keys() -> Vec<Mine> {
        vec![
            Mine::listed(id(BABE, [1; 32]), SR25519, vec![BABE_BLOCK, BABE_VRF]),
            Mine::listed(id(BEEFY, [2; 33]), ECDSA, vec![BEEFY_VOTE]),
        ]
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_replaced_whole() {
        let dir = TempDir::new();
        let file = KeyFile::in_dir(dir.path(), GENESIS);
        assert_eq!(file.read(), []);
        file.write(&keys()).unwrap();
        assert_eq!(file.read(), keys());
        file.write(&keys()[1..]).unwrap();
        assert_eq!(file.read(), keys()[1..]);
        file.write(&[]).unwrap();
        assert_eq!(file.read(), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_list_of_another_chain_is_not_used() {
        let dir = TempDir::new();
        KeyFile::in_dir(dir.path(), ChainId([9; 32])).write(&keys()).unwrap();
        let ours = KeyFile::in_dir(dir.path(), GENESIS);
        assert!(matches!(ours.try_read(), Err(Unusable::OtherChain(_))));
        assert_eq!(ours.read(), []);
    }

    #[test]
    fn whatever_is_changed_or_cut_off_the_list_is_not_used() {
        let dir = TempDir::new();
        let file = KeyFile::in_dir(dir.path(), GENESIS);
        file.write(&keys()).unwrap();
        let whole = fs::read(&file.path).unwrap();
        for length in 0..whole.len() {
            fs::write(&file.path, &whole[..length]).unwrap();
            assert!(file.try_read().is_err(), "{length} bytes of it");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&file.path, changed).unwrap();
            assert!(file.try_read().is_err(), "byte {at}");
        }
        for lines in ["", "\nbabe:0x01 sr25519 babeBlock", "\ngran:0x0101", "\n\n"] {
            let body = format!("{HEAD}\n{}{lines}\nnonsense", file.genesis_line());
            fs::write(&file.path, sealed(&body)).unwrap();
            assert!(matches!(file.try_read(), Err(Unusable::Line(_))), "{lines}");
        }
        fs::write(&file.path, [0xff; 100]).unwrap();
        assert_eq!(file.read(), []);
    }
}
