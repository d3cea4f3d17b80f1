//! Payloads: the complete things a client asks to have signed, read strictly from bytes.
//!
//! A caller turns a [`RawPayload`] into a [`Payload`] with [`RawPayload::decode`] and takes everything else from it:
//! the duty, the digest, the bytes for the signature scheme. Coordinates that a client states beside the bytes do not
//! exist. A decoder accepts exactly the bytes an honest node makes: right magic, exact length, canonical integers,
//! bounded lists, nothing after the end. A new kind costs one file here and one variant in [`PayloadKind`],
//! [`RawPayload`] and [`Content`].

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
pub use kind::{PayloadKind, RawPayload};
pub use ownership::OwnershipProof;
pub use para::{Approval, Bitfield, Dispute, PvfCheck, Statement};

use crate::{AuraMode, ChainFormat, Digest, Duty, DutyClass, KeyType, Side, ToSign, blake2_256, keccak_256};
use kind::SigningForm;

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
    pub const fn kind(&self) -> PayloadKind {
        match self {
            Self::BabeHeader(_) => PayloadKind::BabeHeader,
            Self::AuraHeader(_) => PayloadKind::AuraHeader,
            Self::GrandpaVote(_) => PayloadKind::GrandpaVote,
            Self::BeefyCommitment(_) => PayloadKind::BeefyCommitment,
            Self::Statement(_) => PayloadKind::Statement,
            Self::Approval(_) => PayloadKind::Approval,
            Self::Dispute(_) => PayloadKind::Dispute,
            Self::Bitfield(_) => PayloadKind::Bitfield,
            Self::PvfCheck(_) => PayloadKind::PvfCheck,
            Self::AuthorityRecord(_) => PayloadKind::AuthorityRecord,
            Self::Heartbeat(_) => PayloadKind::Heartbeat,
            Self::OwnershipProof(_) => PayloadKind::OwnershipProof,
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
        RawPayload::new(self.kind(), self.encode(format))
    }

    /// Reads `bytes` as `kind`, looking at no other kind.
    fn read(kind: PayloadKind, bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        check_magic(kind, bytes)?;
        if bytes.len() > kind.max_len() {
            return Err(PayloadError::TooLong { kind, got: bytes.len(), max: kind.max_len() });
        }
        let content = match kind {
            PayloadKind::BabeHeader => BabeHeader::read(bytes, format).map(Self::BabeHeader),
            PayloadKind::AuraHeader => AuraHeader::read(bytes, format).map(Self::AuraHeader),
            PayloadKind::GrandpaVote => GrandpaVote::read(bytes, format).map(Self::GrandpaVote),
            PayloadKind::BeefyCommitment => BeefyCommitment::read(bytes, format).map(Self::BeefyCommitment),
            PayloadKind::Statement => Statement::read(bytes).map(Self::Statement),
            PayloadKind::Approval => Approval::read(bytes).map(Self::Approval),
            PayloadKind::Dispute => Dispute::read(bytes).map(Self::Dispute),
            PayloadKind::Bitfield => Bitfield::read(bytes).map(Self::Bitfield),
            PayloadKind::PvfCheck => PvfCheck::read(bytes).map(Self::PvfCheck),
            PayloadKind::AuthorityRecord => AuthorityRecord::read(bytes).map(Self::AuthorityRecord),
            PayloadKind::Heartbeat => Heartbeat::read(bytes, format).map(Self::Heartbeat),
            PayloadKind::OwnershipProof => OwnershipProof::read(bytes).map(Self::OwnershipProof),
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
fn check_magic(kind: PayloadKind, bytes: &[u8]) -> Result<(), PayloadError> {
    let starts = |magic: &str| bytes.starts_with(magic.as_bytes());
    match kind.magic() {
        Some(expected) if starts(expected) => return Ok(()),
        Some(_) => {}
        None if kind.signing_form() != SigningForm::Verbatim => return Ok(()),
        None => {}
    }
    let found = PayloadKind::ALL.into_iter().find(|k| k.magic().is_some_and(starts));
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
pub fn possible_kinds(bytes: &[u8], format: &ChainFormat) -> Vec<PayloadKind> {
    PayloadKind::ALL.into_iter().filter(|kind| Content::read(*kind, bytes, format).is_ok()).collect()
}

/// A payload that was read and may be signed if the ledger and the client's rights allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    content: Content,
    message: Message,
    duty: Option<Duty>,
}

/// What the scheme signs, by [`SigningForm`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Hash([u8; 32]),
    Prehashed([u8; 32]),
    Verbatim(Box<[u8]>),
}

impl Payload {
    /// Reads `bytes` as a payload of `kind` on a chain of this format.
    ///
    /// # Errors
    /// Anything but the one honest encoding of that kind, and bytes that a signature on them would also make valid
    /// as another kind.
    pub fn decode(kind: PayloadKind, bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        let content = Content::read(kind, bytes, format)?;
        let message = match kind.signing_form() {
            SigningForm::Blake2 => Message::Hash(blake2_256(bytes)),
            SigningForm::KeccakPrehashed => Message::Prehashed(keccak_256(bytes)),
            SigningForm::Verbatim if bytes.len() == 32 => return Err(PayloadError::LooksLikeHash { kind }),
            SigningForm::Verbatim => Message::Verbatim(bytes.into()),
        };
        // Kinds of another form cannot end up in the same signed message, so only those of this form compete.
        let also = PayloadKind::ALL
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
    pub const fn kind(&self) -> PayloadKind {
        self.content.kind()
    }

    /// The duty as the ledger is asked for it: of a backing statement, which one it is.
    pub fn claimed(&self) -> Option<Duty> {
        let Content::Statement(Statement { statement, candidate, session, parent: _ }) = &self.content else {
            return self.duty.clone();
        };
        let (session, candidate, statement) = (*session, *candidate, *statement);
        Some(Duty::ParaStatement { session, candidate, statement })
    }

    /// The class of duty, by which rights are granted.
    pub const fn class(&self) -> DutyClass {
        self.kind().class()
    }

    /// What signing it uses up, or `None` for the free classes.
    pub const fn duty(&self) -> Option<&Duty> {
        self.duty.as_ref()
    }

    /// The types of key that may sign it.
    pub const fn key_types(&self) -> &'static [KeyType] {
        self.kind().key_types()
    }

    /// The bytes for the signature scheme: the header's hash as a message, the commitment's keccak hash as it is,
    /// everything else verbatim.
    pub const fn to_sign(&self) -> ToSign<'_> {
        match &self.message {
            Message::Hash(hash) => ToSign::Message(hash),
            Message::Prehashed(hash) => ToSign::Prehashed(*hash),
            Message::Verbatim(bytes) => ToSign::Message(bytes),
        }
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

impl RawPayload {
    /// Reads the bytes as what they are said to be. See [`Payload::decode`].
    ///
    /// # Errors
    /// As [`Payload::decode`].
    pub fn decode(&self, format: &ChainFormat) -> Result<Payload, PayloadError> {
        let (kind, bytes) = self.parts();
        Payload::decode(kind, bytes, format)
    }

    /// The digest that [`Payload::digest`] gives once the payload is read: it depends on the kind alone.
    pub fn digest(&self) -> Digest {
        let (kind, bytes) = self.parts();
        match kind.signing_form() {
            SigningForm::Blake2 => Digest::of(&blake2_256(bytes)),
            SigningForm::KeccakPrehashed => Digest::of(&keccak_256(bytes)),
            SigningForm::Verbatim => Digest::of(bytes),
        }
    }
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
        Content::Statement(it) => {
            Some(Duty::ParaSide { session: it.session, candidates: vec![it.candidate], side: Side::Valid })
        }
        Content::Approval(it) => {
            Some(Duty::ParaSide { session: it.session, candidates: it.candidates.clone(), side: Side::Valid })
        }
        Content::Dispute(it) => {
            Some(Duty::ParaSide { session: it.session, candidates: vec![it.candidate], side: it.side })
        }
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
