//! Envelopes: the form in which key material is stored and sent.
//!
//! A [`SealedKey`] is an `age` file encrypted to the members' recipients. Its plaintext says which key it is, of which
//! scheme, on which chain; [`open`] refuses an envelope that was put in another's place. The plaintext is versioned:
//!
//! ```text
//! "signonce-key" | version 1 | KeyId (SCALE) | Scheme (SCALE) | genesis hash, 32 bytes | material, 32 or 64 bytes
//! ```
//!
//! `age` authenticates every byte to whoever can open the envelope, and says nothing about who made it: anyone who
//! knows the members' recipients can make one. The admin API decides who may register keys, and a foreign secret cannot
//! pass for a known public key.
//!
//! Sealing leaves one unwiped copy in freed memory of the sealing process (inside `age`'s writer). Seal in
//! short-lived tools, after [`crate::harden_process`].

use crate::{
    bounded,
    identity::{NodeIdentity, Recipient},
    scheme::SignError,
    secret::SecretKey,
};
use age::{Decryptor, Encryptor};
use parity_scale_codec::{Decode as _, Encode as _};
use signonce_protocol::{ChainId, KeyId, PublicKey, Scheme};
use std::{fmt, io, io::Write as _, iter};
use zeroize::Zeroizing;

/// The first bytes of the plaintext.
const MAGIC: &[u8] = b"signonce-key";

/// The layout this program writes, and the only one it reads.
const VERSION: u8 = 1;

/// The longest plaintext, in bytes; real ones have at most 146.
const MAX_PLAIN_BYTES: usize = 512;

/// An encrypted key: bytes that may be stored and replicated anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(Vec<u8>);

/// Why a key was not sealed or not opened. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// More bytes than an envelope may have.
    #[error("an envelope has at most {max} bytes, not {0}", max = SealedKey::MAX_BYTES)]
    TooLong(usize),
    /// There is nobody to encrypt to.
    #[error("an envelope needs at least one recipient; none of the members has announced one")]
    NoRecipients,
    /// Encrypting failed.
    #[error("cannot encrypt the key: {0}")]
    Encrypt(String),
    /// The secret to be sealed belongs to another key.
    #[error("the secret given for {id} is that of another key: its public key is {found}")]
    NotThatKey {
        /// The key that it was said to be.
        id: KeyId,
        /// The public key that it has.
        found: PublicKey,
    },
    /// The key type has no keys of this scheme.
    #[error("a {} key is never {scheme}", .id.key_type)]
    WrongScheme {
        /// The key.
        id: KeyId,
        /// The scheme of the secret.
        scheme: Scheme,
    },
    /// This node is not among the recipients.
    #[error("the envelope of {0} is not encrypted to this node; seal it again for the present members")]
    NotForThisNode(KeyId),
    /// Not an envelope, or a damaged one.
    #[error("the envelope of {id} is damaged: {reason}; import the key again, or restore a backup")]
    Damaged {
        /// The key.
        id: KeyId,
        /// What is wrong.
        reason: &'static str,
    },
    /// The envelope has a layout that this program does not know.
    #[error("the envelope of {id} has layout {version}, this node reads layout {VERSION}; upgrade it")]
    UnknownVersion {
        /// The key.
        id: KeyId,
        /// The layout.
        version: u8,
    },
    /// The envelope belongs to another key.
    #[error("the envelope in the place of {wanted} is that of {found}; it is not opened")]
    AnotherKey {
        /// The key asked for.
        wanted: KeyId,
        /// The key in the envelope.
        found: KeyId,
    },
    /// The envelope was made for another chain.
    #[error(
        "the envelope of {id} is bound to chain {found}, not {wanted}; a key belongs to one chain permanently"
    )]
    AnotherChain {
        /// The key.
        id: KeyId,
        /// The chain asked for.
        wanted: ChainId,
        /// The chain in the envelope.
        found: ChainId,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] SignError),
}

impl SealedKey {
    /// The most bytes an envelope may have: recipients take about 100 bytes each.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Takes bytes as an envelope; only their number is checked here.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SealError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(SealError::TooLong(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The encrypted bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many recipients it is encrypted to, by its header; 0 if it is not an envelope. Who they are cannot be seen.
    pub fn recipient_count(&self) -> usize {
        let header = self.0.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
        header.filter(|line| line.starts_with(b"-> X25519 ")).count()
    }

    /// The encrypted bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedKey({} bytes)", self.0.len())
    }
}

/// Encrypts `key` to all of `recipients`, bound to its id and chain.
pub fn seal(
    key: &SecretKey,
    id: &KeyId,
    chain: &ChainId,
    recipients: &[Recipient],
) -> Result<SealedKey, SealError> {
    if key.public() != id.public {
        return Err(SealError::NotThatKey { id: *id, found: key.public() });
    }
    check_scheme(id, key.scheme())?;
    if recipients.is_empty() {
        return Err(SealError::NoRecipients);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_PLAIN_BYTES));
    plain.extend_from_slice(MAGIC);
    plain.push(VERSION);
    (id, key.scheme(), chain).encode_to(&mut *plain);
    key.with_material(|material| plain.extend_from_slice(material));
    assert!(
        plain.len() <= MAX_PLAIN_BYTES,
        "the plaintext fits its buffer, so no copy of it was left behind"
    );

    let encrypt_error = |e: io::Error| SealError::Encrypt(e.to_string());
    let encryptor = Encryptor::with_recipients(recipients.iter().map(Recipient::as_age))
        .map_err(|e| SealError::Encrypt(e.to_string()))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(encrypt_error)?;
    writer.write_all(&plain).map_err(encrypt_error)?;
    writer.finish().map_err(encrypt_error)?;
    SealedKey::from_bytes(sealed)
}

/// Decrypts an envelope and checks that it holds this key, on this chain.
pub fn open(
    sealed: &SealedKey,
    identity: &NodeIdentity,
    id: &KeyId,
    chain: &ChainId,
) -> Result<SecretKey, SealError> {
    let plain = decrypt(sealed, identity, id)?;
    let damaged = |reason| SealError::Damaged { id: *id, reason };
    let body = plain.strip_prefix(MAGIC).ok_or(damaged("it holds no key"))?;
    let (version, mut rest) = body.split_first().ok_or(damaged("it ends early"))?;
    if *version != VERSION {
        return Err(SealError::UnknownVersion { id: *id, version: *version });
    }
    let (found, scheme, found_chain) = <(KeyId, Scheme, ChainId)>::decode(&mut rest)
        .map_err(|_| damaged("it does not say whose key it is"))?;
    if found != *id {
        return Err(SealError::AnotherKey { wanted: *id, found });
    }
    if found_chain != *chain {
        return Err(SealError::AnotherChain { id: *id, wanted: *chain, found: found_chain });
    }
    check_scheme(id, scheme)?;
    let key =
        SecretKey::from_material(scheme, rest).map_err(|_| damaged("it holds no secret of its scheme"))?;
    if key.public() != id.public {
        return Err(SealError::NotThatKey { id: *id, found: key.public() });
    }
    Ok(key)
}

/// Opens an envelope and seals the key again for `recipients`: for a member that joins or leaves.
///
/// A member that left has seen the key; only rotating the session key on chain helps against that.
pub fn reseal(
    sealed: &SealedKey,
    identity: &NodeIdentity,
    id: &KeyId,
    chain: &ChainId,
    recipients: &[Recipient],
) -> Result<SealedKey, SealError> {
    seal(&open(sealed, identity, id, chain)?, id, chain, recipients)
}

fn check_scheme(id: &KeyId, scheme: Scheme) -> Result<(), SealError> {
    if id.key_type.schemes().contains(&scheme) {
        Ok(())
    } else {
        Err(SealError::WrongScheme { id: *id, scheme })
    }
}

/// Decrypts an envelope to its plaintext.
fn decrypt(sealed: &SealedKey, identity: &NodeIdentity, id: &KeyId) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let damaged = |reason| SealError::Damaged { id: *id, reason };
    let key = identity.to_age().ok_or(damaged("this node's identity is damaged in memory"))?;
    let decryptor =
        Decryptor::new_buffered(sealed.as_bytes()).map_err(|_| damaged("it is not an age file"))?;
    if decryptor.is_scrypt() {
        return Err(damaged("it is locked with a passphrase"));
    }
    let reader = decryptor.decrypt(iter::once(&key as &dyn age::Identity)).map_err(|e| match e {
        age::DecryptError::NoMatchingKeys => SealError::NotForThisNode(*id),
        _ => damaged("its header was changed"),
    })?;
    bounded::read(reader, MAX_PLAIN_BYTES).map_err(|_| damaged("its content was changed or is too long"))
}
