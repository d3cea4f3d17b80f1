//! Heartbeats of `pallet-im-online`: `block number LE ‖ session ‖ authority index ‖ validator count`, 16 bytes
//! (20 where block numbers have 64 bits).

use super::{
    Kind, PayloadError,
    grandpa::push_number,
    kind::{Fields, SigningForm, Spec},
    reader::Reader,
};
use crate::{BlockNumber, ChainFormat, Duty, HEARTBEAT, SessionIndex};

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The block at which it was made.
    pub block: BlockNumber,
    /// The session.
    pub session: SessionIndex,
    /// The sender's index among the session's validators.
    pub authority_index: u32,
    /// How many validators the session has.
    pub validators: u32,
}

impl Heartbeat {
    /// SCALE bytes.
    ///
    /// # Panics
    /// If the block does not fit the chain's block numbers.
    pub fn encode(&self, format: &ChainFormat) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        push_number(&mut out, self.block, format.number_width);
        for field in [self.session.0, self.authority_index, self.validators] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out
    }
}

impl Fields for Heartbeat {
    const SPEC: Spec = Spec {
        name: "heartbeat",
        about: "SCALE `Heartbeat`",
        class: HEARTBEAT,
        magic: None,
        max_len: 20,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], format: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(Kind::Heartbeat, bytes);
        let block = reader.number("block number", format.number_width)?;
        let session = SessionIndex(reader.u32("session")?);
        let authority_index = reader.u32("authority index")?;
        let validators = reader.u32("validator count")?;
        reader.end()?;
        // The pallet drops heartbeats that fail this.
        if authority_index >= validators {
            return Err(PayloadError::OutOfRange {
                kind: Kind::Heartbeat,
                field: "authority index",
                value: authority_index.into(),
                allowed: "below the validator count",
            });
        }
        Ok(Self { block, session, authority_index, validators })
    }

    fn write(&self, format: &ChainFormat) -> Vec<u8> {
        self.encode(format)
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        None
    }

    fn summary(&self) -> String {
        let Self { block, session, authority_index, validators } = self;
        format!(
            "heartbeat of authority {authority_index} of {validators} at block {block} in session {session}"
        )
    }
}
