//! What a parachain validator signs: backing statements, approvals, disputes, bitfields and votes on code.
//!
//! All but bitfields start with four magic bytes (`polkadot_primitives::v9`, `polkadot_node_primitives::disputes`).
//! Sessions and validator indexes are 32 bits little-endian.

use super::{
    Kind, PayloadError,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{
    BITFIELD, CandidateHash, ChainFormat, Duty, PARA_SIDE, PVF_CHECK, SessionIndex, Side, StatementKind,
};
use parity_scale_codec::{Compact, Encode};
use signonce_protocol::Hash;

/// Candidates of one approval at most (`MAX_COALESCE_APPROVALS` of the approval-voting subsystem).
const MAX_APPROVED: u64 = 16;
/// Availability cores of a bitfield at most; Polkadot has about a hundred.
const MAX_CORES: u64 = 4096;

fn start(kind: Kind, bytes: &[u8]) -> Result<Reader<'_>, PayloadError> {
    let mut reader = Reader::new(kind, bytes);
    // That it is the right magic was checked before any decoder ran.
    reader.array::<4>("magic")?;
    Ok(reader)
}

fn candidate(reader: &mut Reader<'_>) -> Result<CandidateHash, PayloadError> {
    reader.array("candidate hash").map(CandidateHash)
}

fn session(reader: &mut Reader<'_>) -> Result<SessionIndex, PayloadError> {
    reader.u32("session").map(SessionIndex)
}

/// `BKNG ‖ kind ‖ candidate 32 ‖ session ‖ relay parent 32`: 73 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Seconded or valid.
    pub statement: StatementKind,
    /// The candidate.
    pub candidate: CandidateHash,
    /// Its session.
    pub session: SessionIndex,
    /// The relay-chain block the statement is made on.
    pub parent: Hash,
}

impl Statement {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.statement {
            StatementKind::Seconded => 1u8,
            StatementKind::Valid => 2,
        };
        (*b"BKNG", kind, self.candidate, self.session, self.parent).encode()
    }
}

impl Fields for Statement {
    const SPEC: Spec = Spec {
        name: "statement",
        about: "`BKNG ‖ 01 seconded / 02 valid ‖ candidate ‖ session ‖ parent`",
        class: PARA_SIDE,
        magic: Some("BKNG"),
        max_len: 73,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = start(Kind::Statement, bytes)?;
        let statement = match reader.u8("statement kind")? {
            1 => StatementKind::Seconded,
            2 => StatementKind::Valid,
            other => return Err(reader.out_of_range("statement kind", other.into(), "1 or 2")),
        };
        let candidate = candidate(&mut reader)?;
        let session = session(&mut reader)?;
        let parent = reader.hash("relay parent")?;
        reader.end()?;
        Ok(Self { statement, candidate, session, parent })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        Some(Duty::ParaSide {
            session: self.session,
            candidates: vec![self.candidate],
            side: Side::Valid,
            statement: Some(self.statement),
        })
    }

    fn summary(&self) -> String {
        let Self { statement, candidate, session, parent } = self;
        format!("{statement:?} statement on candidate {candidate} of session {session} on {parent}")
    }
}

/// `APPR ‖ candidate 32 ‖ session` (40 bytes) for one candidate, `APPR ‖ Vec<candidate> ‖ session` for 2 to 16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The candidates approved of, without repetition.
    pub candidates: Vec<CandidateHash>,
    /// Their session.
    pub session: SessionIndex,
}

impl Approval {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        match self.candidates.as_slice() {
            [one] => (*b"APPR", one, self.session).encode(),
            many => (*b"APPR", many, self.session).encode(),
        }
    }
}

impl Fields for Approval {
    const SPEC: Spec = Spec {
        name: "approval",
        about: "`APPR ‖ candidate ‖ session`, or `APPR ‖ candidates ‖ session`",
        class: PARA_SIDE,
        magic: Some("APPR"),
        max_len: 4 + 1 + 32 * MAX_APPROVED as usize + 4,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        const KIND: Kind = Kind::Approval;
        let mut reader = start(KIND, bytes)?;
        // The two forms cannot have the same length: 40 bytes against 9 + 32 n.
        let count = match reader.left() {
            36 => 1,
            _ => {
                let count = reader.compact("candidate count")?;
                if !(2..=MAX_APPROVED).contains(&count) {
                    return Err(reader.out_of_range("candidate count", count, "2 to 16"));
                }
                count
            }
        };
        let mut candidates = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let candidate = candidate(&mut reader)?;
            if candidates.contains(&candidate) {
                return Err(PayloadError::Duplicate { kind: KIND, field: "candidates" });
            }
            candidates.push(candidate);
        }
        let session = session(&mut reader)?;
        reader.end()?;
        Ok(Self { candidates, session })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        Some(Duty::ParaSide {
            session: self.session,
            candidates: self.candidates.clone(),
            side: Side::Valid,
            statement: None,
        })
    }

    fn summary(&self) -> String {
        let Self { candidates, session } = self;
        format!("approval of {} candidate(s) of session {session}, first {}", candidates.len(), candidates[0])
    }
}

/// `DISP ‖ valid ‖ candidate 32 ‖ session`: 41 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The side taken.
    pub side: Side,
    /// The candidate.
    pub candidate: CandidateHash,
    /// Its session.
    pub session: SessionIndex,
}

impl Dispute {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        (*b"DISP", matches!(self.side, Side::Valid), self.candidate, self.session).encode()
    }
}

impl Fields for Dispute {
    const SPEC: Spec = Spec {
        name: "dispute",
        about: "`DISP ‖ valid ‖ candidate ‖ session`",
        class: PARA_SIDE,
        magic: Some("DISP"),
        max_len: 41,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = start(Kind::Dispute, bytes)?;
        let side = if reader.flag("valid")? { Side::Valid } else { Side::Invalid };
        let candidate = candidate(&mut reader)?;
        let session = session(&mut reader)?;
        reader.end()?;
        Ok(Self { side, candidate, session })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        Some(Duty::ParaSide {
            session: self.session,
            candidates: vec![self.candidate],
            side: self.side,
            statement: None,
        })
    }

    fn summary(&self) -> String {
        let Self { side, candidate, session } = self;
        format!("dispute of candidate {candidate} of session {session} as {side:?}")
    }
}

/// `compact bit count ‖ ⌈n/8⌉ bytes, lowest bit first ‖ session ‖ relay parent 32`. It has no magic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    /// One bit per availability core.
    pub bits: Vec<bool>,
    /// The session.
    pub session: SessionIndex,
    /// The relay-chain block the bits are of.
    pub parent: Hash,
}

impl Bitfield {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Compact(self.bits.len() as u64).encode();
        for eight in self.bits.chunks(8) {
            out.push(eight.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at));
        }
        (self.session, self.parent).encode_to(&mut out);
        out
    }
}

impl Fields for Bitfield {
    const SPEC: Spec = Spec {
        name: "bitfield",
        about: "`bits ‖ session ‖ relay parent`",
        class: BITFIELD,
        magic: None,
        max_len: 2 + MAX_CORES as usize / 8 + 4 + 32,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        const KIND: Kind = Kind::Bitfield;
        let mut reader = Reader::new(KIND, bytes);
        let count = reader.compact("bit count")?;
        if count > MAX_CORES {
            return Err(reader.out_of_range("bit count", count, "0 to 4096"));
        }
        let packed = reader.bytes("bits", count.div_ceil(8))?;
        let session = session(&mut reader)?;
        let parent = reader.hash("relay parent")?;
        reader.end()?;
        let bit = |at: usize| packed[at / 8] >> (at % 8) & 1 == 1;
        let count = count as usize;
        if (count..packed.len() * 8).any(bit) {
            return Err(PayloadError::NotCanonical { kind: KIND, field: "padding of the last byte" });
        }
        Ok(Self { bits: (0..count).map(bit).collect(), session, parent })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        None
    }

    fn summary(&self) -> String {
        let Self { bits, session, parent } = self;
        let set = bits.iter().filter(|bit| **bit).count();
        format!("bitfield of {} cores ({set} set) in session {session} on {parent}", bits.len())
    }
}

/// `VCPC ‖ accept ‖ code hash 32 ‖ session ‖ validator index`: 45 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvfCheck {
    /// Whether the code prepares and may be used.
    pub accept: bool,
    /// The hash of the code.
    pub code: Hash,
    /// The session.
    pub session: SessionIndex,
    /// The voter's index among the session's validators.
    pub validator_index: u32,
}

impl PvfCheck {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        (*b"VCPC", self.accept, self.code, self.session, self.validator_index).encode()
    }
}

impl Fields for PvfCheck {
    const SPEC: Spec = Spec {
        name: "pvfCheck",
        about: "`VCPC ‖ accept ‖ code hash ‖ session ‖ validator index`",
        class: PVF_CHECK,
        magic: Some("VCPC"),
        max_len: 45,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = start(Kind::PvfCheck, bytes)?;
        let accept = reader.flag("accept")?;
        let code = reader.hash("code hash")?;
        let session = session(&mut reader)?;
        let validator_index = reader.u32("validator index")?;
        reader.end()?;
        Ok(Self { accept, code, session, validator_index })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        None
    }

    fn summary(&self) -> String {
        let Self { accept, code, session, validator_index } = self;
        let vote = if *accept { "for" } else { "against" };
        format!("vote {vote} code {code} in session {session} by validator {validator_index}")
    }
}
