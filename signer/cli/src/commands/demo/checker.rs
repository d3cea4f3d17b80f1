//! The checker: given every signature that anybody received, was any duty signed twice?
//!
//! It shares nothing with the signer's ledger or its decoders. It reads positions from the payload's bytes with a few
//! lines of its own, by the layouts of `sp_runtime`, `sp_consensus_grandpa`, `sp_consensus_beefy` and
//! `polkadot_primitives`, and trusts nothing the signer said about a payload. Three things must hold:
//!
//! 1. every signature verifies over its payload;
//! 2. no duty was signed with two different statements (two headers in a slot, two targets in a round, both sides of
//!    a candidate);
//! 3. no payload has two different signatures (a block sealed twice over one header is an equivocation on chain).

use signonce_protocol::{PublicKey, Scheme, ToSign, blake2_256};
use signonce_substrate::{Kind, keccak_256};
use std::{collections::HashMap, fmt};

/// One signature that a client received, with what it had asked for.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Who received it.
    pub client: String,
    /// The scheme of the key.
    pub scheme: Scheme,
    /// The key.
    pub public: PublicKey,
    /// The kind that the payload was sent as.
    pub kind: Kind,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

/// A duty: what a validator may say only once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DutyId {
    /// One block per slot.
    Slot(u64),
    /// One GRANDPA vote per set, round and stage byte.
    Vote {
        /// The authority set.
        set: u64,
        /// The round.
        round: u64,
        /// 0 prevote, 1 precommit, 2 primary proposal.
        stage: u8,
    },
    /// One BEEFY commitment per set and block.
    Commitment {
        /// The validator set.
        set: u64,
        /// The block.
        block: u32,
    },
    /// One side per session and candidate.
    Candidate {
        /// The session.
        session: u32,
        /// The candidate's hash.
        hash: [u8; 32],
    },
}

impl fmt::Display for DutyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "slot {slot}"),
            Self::Vote { set, round, stage } => write!(f, "set {set} round {round} stage {stage}"),
            Self::Commitment { set, block } => write!(f, "set {set} block {block}"),
            Self::Candidate { session, hash } => {
                write!(f, "session {session} candidate {}", hex::encode(hash))
            }
        }
    }
}

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A signature for bytes that are not a payload.
    #[error("key {public}: a signature over {bytes} bytes that are not a {kind:?} ({why})")]
    Unreadable {
        /// The key.
        public: PublicKey,
        /// The kind that it was asked as.
        kind: Kind,
        /// The number of bytes.
        bytes: usize,
        /// What is wrong with them.
        why: &'static str,
    },
    /// A signature that does not verify.
    #[error("key {public}, {place}: {client} received a signature that does not verify")]
    BadSignature {
        /// The key.
        public: PublicKey,
        /// The duty.
        place: DutyId,
        /// Who received it.
        client: String,
    },
    /// An equivocation.
    #[error("key {public}, {place}: signed twice with different content, for {first} and for {second}")]
    TwoPayloads {
        /// The key.
        public: PublicKey,
        /// The duty.
        place: DutyId,
        /// Who received the first one.
        first: String,
        /// Who received the other one.
        second: String,
    },
    /// Two signatures over the same bytes.
    #[error(
        "key {public}, {place}: two different signatures over the same payload, for {first} and for {second}"
    )]
    TwoSignatures {
        /// The key.
        public: PublicKey,
        /// The duty.
        place: DutyId,
        /// Who received the first one.
        first: String,
        /// Who received the other one.
        second: String,
    },
}

/// The findings over all receipts.
#[derive(Debug, Default)]
pub struct Findings {
    /// The receipts checked.
    pub receipts: u64,
    /// The distinct duties among them.
    pub duties: u64,
    /// The violations; empty if all is well.
    pub violations: Vec<Violation>,
}

/// Takes receipts one by one; keeps only digests, so that a long run fits into memory.
#[derive(Debug, Default)]
pub struct Checker {
    /// Key and duty → what was said for it, and who received it first.
    said: HashMap<(PublicKey, DutyId), ([u8; 32], String)>,
    /// Key and payload → its signature, and who received it first.
    signed: HashMap<(PublicKey, [u8; 32]), (Vec<u8>, String)>,
    findings: Findings,
}

impl Checker {
    /// Checks one receipt.
    pub fn add(&mut self, receipt: &Receipt) {
        let Receipt { client, scheme, public, kind, payload, signature } = receipt;
        self.findings.receipts += 1;
        let statement = match read(*kind, payload) {
            Ok(statement) => statement,
            Err(why) => {
                let bytes = payload.len();
                return self.found(Violation::Unreadable { public: *public, kind: *kind, bytes, why });
            }
        };
        let Statement { place, content } = statement;
        let known = self.signed.get(&(*public, blake2_256(payload)));
        if let Some((first_signature, first)) = known {
            if first_signature != signature {
                let (first, second) = (first.clone(), client.clone());
                return self.found(Violation::TwoSignatures { public: *public, place, first, second });
            }
        } else {
            if !verifies(*scheme, public, *kind, payload, signature) {
                let client = client.clone();
                return self.found(Violation::BadSignature { public: *public, place, client });
            }
            self.signed.insert((*public, blake2_256(payload)), (signature.clone(), client.clone()));
        }
        let entry = self.said.entry((*public, place.clone()));
        let (said, first) = entry.or_insert_with(|| (content, client.clone()));
        if *said != content {
            let (first, second) = (first.clone(), client.clone());
            self.found(Violation::TwoPayloads { public: *public, place, first, second });
        }
    }

    /// The findings.
    pub fn finish(self) -> Findings {
        Findings { duties: self.said.len() as u64, ..self.findings }
    }

    fn found(&mut self, violation: Violation) {
        self.findings.violations.push(violation);
    }
}

/// Checks all receipts at once.
pub fn check(receipts: &[Receipt]) -> Findings {
    let mut checker = Checker::default();
    receipts.iter().for_each(|receipt| checker.add(receipt));
    checker.finish()
}

fn verifies(scheme: Scheme, public: &PublicKey, kind: Kind, payload: &[u8], signature: &[u8]) -> bool {
    let hash;
    let to_sign = match kind {
        Kind::BabeHeader | Kind::AuraHeader => {
            hash = blake2_256(payload);
            ToSign::Message(&hash)
        }
        Kind::BeefyCommitment => ToSign::Prehashed(keccak_256(payload)),
        _ => ToSign::Message(payload),
    };
    signonce_keys::verify(scheme, public, to_sign, signature)
}

/// A payload's duty and what it says.
struct Statement {
    place: DutyId,
    /// Equal for statements that may coexist.
    content: [u8; 32],
}

fn read(kind: Kind, payload: &[u8]) -> Result<Statement, &'static str> {
    let whole = |place| Statement { place, content: blake2_256(payload) };
    let mut bytes = Bytes(payload);
    let statement = match kind {
        Kind::BabeHeader => return babe_slot(&mut bytes).map(|slot| whole(DutyId::Slot(slot))),
        Kind::GrandpaVote => {
            let stage = bytes.u8()?;
            bytes.take(32)?;
            bytes.u32()?;
            let (round, set) = (bytes.u64()?, bytes.u64()?);
            whole(DutyId::Vote { set, round, stage })
        }
        Kind::BeefyCommitment => {
            for _ in 0..bytes.compact()? {
                bytes.take(2)?;
                let length = bytes.compact()?;
                bytes.take(usize::try_from(length).map_err(|_| "length")?)?;
            }
            let block = bytes.u32()?;
            whole(DutyId::Commitment { set: bytes.u64()?, block })
        }
        Kind::Dispute => {
            bytes.magic(b"DISP")?;
            let valid = bytes.u8()?;
            candidate(&mut bytes, valid == 1)?
        }
        Kind::Statement => {
            bytes.magic(b"BKNG")?;
            bytes.u8()?;
            let backed = candidate(&mut bytes, true)?;
            bytes.take(32)?;
            backed
        }
        Kind::Approval if payload.len() == 40 => {
            bytes.magic(b"APPR")?;
            candidate(&mut bytes, true)?
        }
        _ => return Err("this checker does not read this kind"),
    };
    if bytes.0.is_empty() { Ok(statement) } else { Err("trailing bytes") }
}

/// Reads `candidate hash ‖ session`, with the side that is taken.
fn candidate(bytes: &mut Bytes<'_>, valid: bool) -> Result<Statement, &'static str> {
    let hash = bytes.take(32)?.try_into().map_err(|_| "candidate hash")?;
    let session = bytes.u32()?;
    Ok(Statement { place: DutyId::Candidate { session, hash }, content: [u8::from(valid); 32] })
}

/// The slot of a header: `parent ‖ number ‖ state root ‖ extrinsics root ‖ digest items`; item 6 of the engine
/// `BABE` is `variant ‖ authority index u32 ‖ slot u64 ‖ …`.
fn babe_slot(bytes: &mut Bytes<'_>) -> Result<u64, &'static str> {
    bytes.take(32)?;
    bytes.compact()?;
    bytes.take(64)?;
    let mut slot = None;
    for _ in 0..bytes.compact()? {
        let index = bytes.u8()?;
        let engine = if (4..=6).contains(&index) { bytes.take(4)? } else { &[] };
        if index == 8 {
            continue;
        }
        let length = usize::try_from(bytes.compact()?).map_err(|_| "length")?;
        let mut data = Bytes(bytes.take(length)?);
        match (index, engine) {
            (6, b"BABE") if slot.is_none() => {
                data.take(5)?;
                slot = Some(data.u64()?);
            }
            (6, b"BABE") => return Err("two pre-digests"),
            (5, _) => return Err("sealed already"),
            _ => {}
        }
    }
    if bytes.0.is_empty() { slot.ok_or("no pre-digest") } else { Err("trailing bytes") }
}

/// The bytes left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn magic(&mut self, magic: &[u8; 4]) -> Result<(), &'static str> {
        if self.take(4)? == magic { Ok(()) } else { Err("another magic") }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "too short")
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        self.number::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.number().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.number().map(u64::from_le_bytes)
    }

    /// A SCALE compact number of at most 30 bits; no payload checked here has a larger one.
    fn compact(&mut self) -> Result<u64, &'static str> {
        let first = self.u8()?;
        let more = match first & 3 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return Err("a compact number of more than 30 bits"),
        };
        let mut number = u64::from(first);
        for (at, byte) in self.take(more)?.iter().enumerate() {
            number |= u64::from(*byte) << (8 * (at + 1));
        }
        Ok(number >> 2)
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
