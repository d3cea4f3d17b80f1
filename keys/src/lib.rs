//! Where secrets live: key material in locked memory, the signature algorithms, `age` envelopes, node
//! identities, the keyring, and the readers of key files: Substrate keystores, and the keys of CometBFT validators.
//!
//! No other crate of Signonce sees a secret. Keys come in through [`SecretKey::generate`],
//! [`SecretKey::from_suri`], [`read_dir`], [`read_consensus_key`] or [`open`]; they leave only as a [`SealedKey`], encrypted to the members.
//! A signer signs through a [`Keyring`], which hands out signatures as [`Unreleased`]: the bytes come out only
//! against a [`ReleaseToken`], which the cluster gives for a committed claim and [`FreeDuty`] for work that needs
//! none.
//!
//! Every signature is deterministic (any node gives the same bytes for the same request) and is verified before it
//! is returned. No `Debug`, `Display` or error of this crate contains a secret, a passphrase or a SURI.
#![deny(missing_docs, unsafe_code)]

mod bounded;
mod consensus_key;
mod identity;
mod keyring;
mod memory;
mod passphrase;
mod scheme;
mod seal;
mod secret;
mod substrate_keystore;
mod suri;
mod vrf;

pub use consensus_key::{ConsensusKeyProblem, read_consensus_key};
pub use identity::{IdentityError, NodeIdentity, Recipient, RecipientError, ScryptWork};
pub use keyring::{FreeDuty, InsertError, Keyring, ReleaseToken, Signed, Unreleased};
pub use memory::{HardeningReport, LockedMemory, Measure, harden_process, locked_memory};
pub use passphrase::{CREDENTIAL_NAME, PassphraseError, PassphraseSource};
pub use scheme::{SignError, Signature, SignatureError, verify};
pub use seal::{SealError, SealedKey, open, reseal, seal};
pub use secrecy::{ExposeSecret, SecretString};
pub use secret::{SecretError, SecretKey};
pub use substrate_keystore::{
    KeystoreEntry, KeystoreError, KeystoreKey, KeystoreProblem, read_dir, read_password_file,
};
pub use suri::SuriError;
pub use vrf::{VrfSignature, verify_babe_vrf};
