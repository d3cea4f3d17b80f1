//! Payloads: the complete things a client asks to have signed, read strictly from bytes.
//!
//! A caller turns bytes into a [`Payload`] with [`Payload::decode`] and takes everything else from it:
//! the duty, the digest, the bytes for the signature scheme. Coordinates that a client states beside the bytes do not
//! exist. A decoder accepts exactly the bytes an honest node makes: right magic, exact length, canonical integers,
//! bounded lists, nothing after the end. A new kind costs its fields, with all there is to say of them (`Fields` in
//! `kind.rs`), and one line in `kinds!`.

mod authority;
mod beefy;
mod error;
mod grandpa;
mod header;
mod heartbeat;
mod kind;
mod multiaddr;
mod ownership;
mod para;
mod reader;
#[cfg(test)]
mod tests;

pub use crate::StatementKind;
pub use authority::AuthorityRecord;
pub use beefy::BeefyCommitment;
pub use error::PayloadError;
pub use grandpa::GrandpaVote;
pub use header::{AURA_ENGINE, AuraHeader, BABE_ENGINE, BabeClaim, BabeHeader, DigestItem, Header};
pub use heartbeat::Heartbeat;
pub use ownership::OwnershipProof;
pub use para::{Approval, Bitfield, Dispute, PvfCheck, Statement};

use crate::{ChainFormat, ChainSettings, Duty, keccak_256};
use kind::{Fields, SigningForm, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signonce_protocol::{
    Chain, Digest, DutyClass, KeyType, KindSpec, Message, Payload as AnyPayload, PayloadError as AnyError,
    PayloadKind, RawPayload, ToSign, blake2_256,
};

/// Defines the kinds and every table by kind, from their [`Fields`].
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// What the bytes of a payload claim to be. The name is the tag of the JSON union.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "camelCase")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            const fn spec(self) -> Spec {
                match self { $(Self::$kind => $kind::SPEC,)* }
            }
        }

        /// What a payload says, field by field. Anyone can make one and [`Content::encode`] it; only
        /// [`Payload::decode`] makes something that is signed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Content {
            $($(#[$doc])* $kind($kind),)*
        }

        impl Content {
            /// The kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// The payload's bytes: for clients and tests that make payloads.
            ///
            /// # Panics
            /// If a block number does not fit the chain's width.
            pub fn encode(&self, format: &ChainFormat) -> Vec<u8> {
                match self { $(Self::$kind(fields) => fields.write(format),)* }
            }

            /// Reads `bytes` as `kind`; magic and length were checked.
            fn read_fields(kind: Kind, bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
                match kind { $(Kind::$kind => $kind::read(bytes, format).map(Self::$kind),)* }
            }

            fn duty(&self, format: &ChainFormat) -> Option<Duty> {
                match self { $(Self::$kind(fields) => fields.duty(format),)* }
            }

            fn summary(&self) -> String {
                match self { $(Self::$kind(fields) => fields.summary(),)* }
            }
        }

        /// The rows of the family's table. Reading goes to the typed decoders.
        pub(crate) static ROWS: [KindSpec; Kind::ALL.len()] = [$({
            const SPEC: Spec = $kind::SPEC;
            KindSpec {
                id: PayloadKind::new(crate::ID, Kind::$kind as u8),
                name: SPEC.name,
                about: SPEC.about,
                class: SPEC.class,
                max_len: SPEC.max_len,
                digest: |bytes| digest_of(Kind::$kind, bytes),
                decode: |bytes, chain| decode_on(Kind::$kind, bytes, chain),
            }
        },)*];
    };
}

kinds! {
    /// An unsealed header with a BABE pre-runtime digest.
    BabeHeader,
    /// An unsealed header with an AURA pre-runtime digest.
    AuraHeader,
    /// A GRANDPA prevote, precommit or primary proposal with its round and set.
    GrandpaVote,
    /// A BEEFY commitment.
    BeefyCommitment,
    /// A backing statement on a parachain candidate (`BKNG`).
    Statement,
    /// An approval vote for one candidate or several (`APPR`).
    Approval,
    /// An explicit dispute statement (`DISP`).
    Dispute,
    /// An availability bitfield.
    Bitfield,
    /// A vote on parachain code (`VCPC`).
    PvfCheck,
    /// An authority-discovery record.
    AuthorityRecord,
    /// An im-online heartbeat.
    Heartbeat,
    /// A proof of possession of a session key (`POP_`).
    OwnershipProof,
}

impl Content {
    /// The payload as it travels.
    ///
    /// # Panics
    /// As [`Content::encode`].
    pub fn to_raw(&self, format: &ChainFormat) -> RawPayload {
        RawPayload::new(self.kind().into(), self.encode(format))
    }

    /// Reads `bytes` as `kind`, looking at no other kind.
    fn read(kind: Kind, bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        check_magic(kind, bytes)?;
        if bytes.len() > kind.max_len() {
            return Err(PayloadError::TooLong { kind, got: bytes.len(), max: kind.max_len() });
        }
        let content = Self::read_fields(kind, bytes, format)?;
        // The decoders are strict by construction; this holds them to it, whatever is added later.
        if content.encode(format) != bytes {
            return Err(PayloadError::NotCanonical { kind, field: "the payload" });
        }
        Ok(content)
    }
}

/// Magic first: bytes that start with a magic are of that kind or of none. Headers and commitments are exempt, as
/// their bytes are never signed themselves (and a parent hash may start with anything).
fn check_magic(kind: Kind, bytes: &[u8]) -> Result<(), PayloadError> {
    let starts = |magic: &str| bytes.starts_with(magic.as_bytes());
    match kind.magic() {
        Some(expected) if starts(expected) => return Ok(()),
        Some(_) => {}
        None if kind.signing_form() != SigningForm::Verbatim => return Ok(()),
        None => {}
    }
    let found = Kind::ALL.into_iter().find(|k| k.magic().is_some_and(starts));
    match (found, kind.magic()) {
        (Some(found), _) => Err(PayloadError::OtherIntent { kind, found }),
        (None, None) => Ok(()),
        (None, Some(expected)) => Err(PayloadError::WrongMagic {
            kind,
            got: bytes[..bytes.len().min(4)].escape_ascii().to_string(),
            expected,
        }),
    }
}

/// Every kind that `bytes` could be, each judged on its own.
pub fn possible_kinds(bytes: &[u8], format: &ChainFormat) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| Content::read(*kind, bytes, format).is_ok()).collect()
}

/// A payload that was read and may be signed if the ledger and the client's rights allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    content: Content,
    message: Message,
    duty: Option<Duty>,
}

impl Payload {
    /// Reads `bytes` as a payload of `kind` on a chain of this format.
    ///
    /// # Errors
    /// For anything but the one canonical encoding of that kind, and for bytes on which a signature would also be valid
    /// as another kind.
    pub fn decode(kind: Kind, bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        let content = Content::read(kind, bytes, format)?;
        let message = match kind.signing_form() {
            SigningForm::Blake2 => Message::Bytes(blake2_256(bytes).into()),
            SigningForm::KeccakPrehashed => Message::Prehashed(keccak_256(bytes)),
            SigningForm::Verbatim if bytes.len() == 32 => return Err(PayloadError::LooksLikeHash { kind }),
            SigningForm::Verbatim => Message::Bytes(bytes.into()),
        };
        // Kinds of another form cannot end up in the same signed message, so only those of this form compete.
        let also = Kind::ALL
            .into_iter()
            .filter(|other| *other != kind && other.signing_form() == kind.signing_form())
            .find(|other| Content::read(*other, bytes, format).is_ok());
        if let Some(also) = also {
            return Err(PayloadError::Ambiguous { kind, also });
        }
        let duty = content.duty(format);
        assert_eq!(
            duty.as_ref().map(Duty::class),
            Some(kind.class()).filter(|class| class.is_claimed()),
            "a payload's duty is of its class"
        );
        Ok(Self { content, message, duty })
    }

    /// What the payload says.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// The kind it was read as.
    pub const fn kind(&self) -> Kind {
        self.content.kind()
    }

    /// The class of duty, by which rights are granted.
    pub fn class(&self) -> DutyClass {
        self.kind().class()
    }

    /// What signing it uses up, or `None` for the free classes.
    pub const fn duty(&self) -> Option<&Duty> {
        self.duty.as_ref()
    }

    /// The types of key that may sign it.
    pub fn key_types(&self) -> &'static [KeyType] {
        self.kind().key_types()
    }

    /// The bytes for the signature scheme: the header's hash as a message, the commitment's keccak hash as it is,
    /// everything else verbatim.
    pub fn to_sign(&self) -> ToSign<'_> {
        self.message.to_sign()
    }

    /// What the duty is bound to: blake2b-256 of [`Payload::to_sign`].
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_sign().as_bytes())
    }

    /// A summary in one line, for logs, the audit and consoles.
    pub fn summary(&self) -> String {
        self.content.summary()
    }
}

impl From<Payload> for AnyPayload {
    fn from(payload: Payload) -> Self {
        let summary = payload.summary();
        let duty = payload.duty.as_ref().map(Into::into);
        Self::new(payload.content.kind().into(), duty, payload.message, summary)
    }
}

/// The digest that [`Payload::digest`] gives once the bytes are read: it depends on the kind alone.
fn digest_of(kind: Kind, bytes: &[u8]) -> Digest {
    match kind.signing_form() {
        SigningForm::Blake2 => Digest::of(&blake2_256(bytes)),
        SigningForm::KeccakPrehashed => Digest::of(&keccak_256(bytes)),
        SigningForm::Verbatim => Digest::of(bytes),
    }
}

/// [`Payload::decode`] on a chain that a cluster has taken in.
fn decode_on(kind: Kind, bytes: &[u8], chain: &Chain) -> Result<AnyPayload, AnyError> {
    let payload = Payload::decode(kind, bytes, &ChainSettings::of(chain).format);
    payload.map(AnyPayload::from).map_err(|error| AnyError(error.to_string()))
}
