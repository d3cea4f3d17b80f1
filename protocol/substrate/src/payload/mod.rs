//! Payloads: the complete things a client asks to have signed, read strictly from bytes.
//!
//! A caller turns bytes into a [`Payload`] with [`Payload::decode`] and takes everything else from it:
//! the duty, the digest, the bytes for the signature scheme. Coordinates that a client states beside the bytes do not
//! exist. A decoder accepts exactly the bytes an honest node makes: right magic, exact length, canonical integers,
//! bounded lists, nothing after the end. A new kind costs one file here and one variant in [`Kind`] and
//! [`Content`].

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
pub use kind::Kind;
pub use ownership::OwnershipProof;
pub use para::{Approval, Bitfield, Dispute, PvfCheck, Statement};

use crate::{AuraMode, ChainFormat, ChainSettings, Duty, Side, keccak_256};
use kind::SigningForm;
use signonce_protocol::{
    Chain, Digest, DutyClass, KeyType, Message, Payload as AnyPayload, PayloadError as AnyError, RawPayload,
    ToSign, blake2_256,
};

/// What a payload says, field by field. Anyone can make one and [`Content::encode`] it; only [`Payload::decode`]
/// makes something that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An unsealed BABE header.
    BabeHeader(BabeHeader),
    /// An unsealed AURA header.
    AuraHeader(AuraHeader),
    /// A GRANDPA vote.
    GrandpaVote(GrandpaVote),
    /// A BEEFY commitment.
    BeefyCommitment(BeefyCommitment),
    /// A backing statement.
    Statement(Statement),
    /// An approval vote.
    Approval(Approval),
    /// A dispute statement.
    Dispute(Dispute),
    /// An availability bitfield.
    Bitfield(Bitfield),
    /// A vote on parachain code.
    PvfCheck(PvfCheck),
    /// An authority-discovery record.
    AuthorityRecord(AuthorityRecord),
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A proof of possession.
    OwnershipProof(OwnershipProof),
}

impl Content {
    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::BabeHeader(_) => Kind::BabeHeader,
            Self::AuraHeader(_) => Kind::AuraHeader,
            Self::GrandpaVote(_) => Kind::GrandpaVote,
            Self::BeefyCommitment(_) => Kind::BeefyCommitment,
            Self::Statement(_) => Kind::Statement,
            Self::Approval(_) => Kind::Approval,
            Self::Dispute(_) => Kind::Dispute,
            Self::Bitfield(_) => Kind::Bitfield,
            Self::PvfCheck(_) => Kind::PvfCheck,
            Self::AuthorityRecord(_) => Kind::AuthorityRecord,
            Self::Heartbeat(_) => Kind::Heartbeat,
            Self::OwnershipProof(_) => Kind::OwnershipProof,
        }
    }

    /// The payload's bytes: for clients and tests that make payloads.
    ///
    /// # Panics
    /// If a block number does not fit the chain's width.
    pub fn encode(&self, format: &ChainFormat) -> Vec<u8> {
        match self {
            Self::BabeHeader(it) => it.header.encode(),
            Self::AuraHeader(it) => it.header.encode(),
            Self::GrandpaVote(it) => it.encode(format),
            Self::BeefyCommitment(it) => it.encode(format),
            Self::Statement(it) => it.encode(),
            Self::Approval(it) => it.encode(),
            Self::Dispute(it) => it.encode(),
            Self::Bitfield(it) => it.encode(),
            Self::PvfCheck(it) => it.encode(),
            Self::AuthorityRecord(it) => it.encode(),
            Self::Heartbeat(it) => it.encode(format),
            Self::OwnershipProof(it) => it.encode(),
        }
    }

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
        let content = match kind {
            Kind::BabeHeader => BabeHeader::read(bytes, format).map(Self::BabeHeader),
            Kind::AuraHeader => AuraHeader::read(bytes, format).map(Self::AuraHeader),
            Kind::GrandpaVote => GrandpaVote::read(bytes, format).map(Self::GrandpaVote),
            Kind::BeefyCommitment => BeefyCommitment::read(bytes, format).map(Self::BeefyCommitment),
            Kind::Statement => Statement::read(bytes).map(Self::Statement),
            Kind::Approval => Approval::read(bytes).map(Self::Approval),
            Kind::Dispute => Dispute::read(bytes).map(Self::Dispute),
            Kind::Bitfield => Bitfield::read(bytes).map(Self::Bitfield),
            Kind::PvfCheck => PvfCheck::read(bytes).map(Self::PvfCheck),
            Kind::AuthorityRecord => AuthorityRecord::read(bytes).map(Self::AuthorityRecord),
            Kind::Heartbeat => Heartbeat::read(bytes, format).map(Self::Heartbeat),
            Kind::OwnershipProof => OwnershipProof::read(bytes).map(Self::OwnershipProof),
        }?;
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
    /// Anything but the one honest encoding of that kind, and bytes that a signature on them would also make valid
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
        let duty = duty_of(&content, format);
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

    /// One line for people: logs, the audit, a console.
    pub fn summary(&self) -> String {
        summary_of(&self.content)
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
pub(crate) fn digest_of(kind: Kind, bytes: &[u8]) -> Digest {
    match kind.signing_form() {
        SigningForm::Blake2 => Digest::of(&blake2_256(bytes)),
        SigningForm::KeccakPrehashed => Digest::of(&keccak_256(bytes)),
        SigningForm::Verbatim => Digest::of(bytes),
    }
}

/// [`Payload::decode`] on a chain that a cluster has taken in.
pub(crate) fn decode_on(kind: Kind, bytes: &[u8], chain: &Chain) -> Result<AnyPayload, AnyError> {
    let payload = Payload::decode(kind, bytes, &ChainSettings::of(chain).format);
    payload.map(AnyPayload::from).map_err(|error| AnyError(error.to_string()))
}

fn duty_of(content: &Content, format: &ChainFormat) -> Option<Duty> {
    match content {
        Content::BabeHeader(it) => Some(Duty::BabeBlock { slot: it.slot }),
        Content::AuraHeader(it) => Some(Duty::AuraBlock {
            slot: it.slot,
            collation: match format.aura_mode {
                AuraMode::Slot => None,
                AuraMode::Collator => Some((it.header.number, it.header.parent)),
            },
        }),
        Content::GrandpaVote(it) => {
            Some(Duty::GrandpaVote { set_id: it.set_id, round: it.round, stage: it.stage, target: it.target })
        }
        Content::BeefyCommitment(it) => Some(Duty::BeefyVote { set_id: it.set_id, block: it.block }),
        Content::Statement(it) => Some(Duty::ParaSide {
            session: it.session,
            candidates: vec![it.candidate],
            side: Side::Valid,
            statement: Some(it.statement),
        }),
        Content::Approval(it) => Some(Duty::ParaSide {
            session: it.session,
            candidates: it.candidates.clone(),
            side: Side::Valid,
            statement: None,
        }),
        Content::Dispute(it) => Some(Duty::ParaSide {
            session: it.session,
            candidates: vec![it.candidate],
            side: it.side,
            statement: None,
        }),
        Content::Bitfield(_)
        | Content::PvfCheck(_)
        | Content::AuthorityRecord(_)
        | Content::Heartbeat(_)
        | Content::OwnershipProof(_) => None,
    }
}

fn summary_of(content: &Content) -> String {
    match content {
        Content::BabeHeader(BabeHeader { header, slot, authority_index, claim }) => format!(
            "BABE block {} at slot {slot} on {} by authority {authority_index} ({claim:?})",
            header.number, header.parent
        ),
        Content::AuraHeader(AuraHeader { header, slot }) => {
            format!("AURA block {} at slot {slot} on {}", header.number, header.parent)
        }
        Content::GrandpaVote(GrandpaVote { stage, target_hash, target, round, set_id }) => {
            format!("GRANDPA {stage:?} for block {target} ({target_hash}) in set {set_id} round {round}")
        }
        Content::BeefyCommitment(BeefyCommitment { payload: _, block, set_id }) => {
            format!("BEEFY commitment to block {block} in set {set_id}")
        }
        Content::Statement(Statement { statement, candidate, session, parent }) => {
            format!("{statement:?} statement on candidate {candidate} of session {session} on {parent}")
        }
        Content::Approval(Approval { candidates, session }) => {
            format!(
                "approval of {} candidate(s) of session {session}, first {}",
                candidates.len(),
                candidates[0]
            )
        }
        Content::Dispute(Dispute { side, candidate, session }) => {
            format!("dispute of candidate {candidate} of session {session} as {side:?}")
        }
        Content::Bitfield(Bitfield { bits, session, parent }) => format!(
            "bitfield of {} cores ({} set) in session {session} on {parent}",
            bits.len(),
            bits.iter().filter(|bit| **bit).count()
        ),
        Content::PvfCheck(PvfCheck { accept, code, session, validator_index }) => {
            let vote = if *accept { "for" } else { "against" };
            format!("vote {vote} code {code} in session {session} by validator {validator_index}")
        }
        Content::AuthorityRecord(AuthorityRecord { addresses, creation_time_ns }) => format!(
            "authority record of {} address(es){}",
            addresses.len(),
            creation_time_ns
                .map_or_else(String::new, |ns| format!(" made at unix time {} s", ns / 1_000_000_000))
        ),
        Content::Heartbeat(Heartbeat { block, session, authority_index, validators }) => {
            format!(
                "heartbeat of authority {authority_index} of {validators} at block {block} in session {session}"
            )
        }
        Content::OwnershipProof(OwnershipProof { owner }) if owner.is_empty() => {
            "ownership proof without owner".into()
        }
        Content::OwnershipProof(OwnershipProof { owner }) => {
            format!("ownership proof for 0x{}", hex::encode(owner))
        }
    }
}
