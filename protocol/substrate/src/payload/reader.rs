//! A cursor over untrusted bytes. Each step names the field it reads, so that errors can name it; nothing is copied or
//! allocated because a length field says so.

use super::{Kind, PayloadError};
use crate::{BlockNumber, NumberWidth};
use signonce_protocol::Hash;

/// Reads one payload from front to back. Call [`Reader::end`] last.
pub(super) struct Reader<'a> {
    kind: Kind,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, rest: bytes }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, field: &'static str, len: u64) -> Result<&'a [u8], PayloadError> {
        let truncated = PayloadError::Truncated { kind: self.kind, field, need: len, left: self.rest.len() };
        let len = usize::try_from(len).map_err(|_| truncated.clone())?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PayloadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(field, N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, PayloadError> {
        self.array(field).map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, PayloadError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, PayloadError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<Hash, PayloadError> {
        self.array(field).map(Hash)
    }

    /// A block number of fixed width.
    pub(super) fn number(
        &mut self,
        field: &'static str,
        width: NumberWidth,
    ) -> Result<BlockNumber, PayloadError> {
        match width {
            NumberWidth::U32 => self.u32(field).map(|n| BlockNumber(n.into())),
            NumberWidth::U64 => self.u64(field).map(BlockNumber),
        }
    }

    /// A SCALE boolean: 0 or 1, nothing else.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, PayloadError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.out_of_range(field, other.into(), "0 or 1")),
        }
    }

    /// A SCALE compact integer of up to 64 bits in its only canonical form.
    pub(super) fn compact(&mut self, field: &'static str) -> Result<u64, PayloadError> {
        let first = self.u8(field)?;
        let (value, least) = match first & 0b11 {
            0b00 => (u64::from(first >> 2), 0),
            0b01 => {
                let second = self.u8(field)?;
                (u64::from(u16::from_le_bytes([first, second]) >> 2), 1 << 6)
            }
            0b10 => {
                let [b, c, d] = self.array(field)?;
                (u64::from(u32::from_le_bytes([first, b, c, d]) >> 2), 1 << 14)
            }
            _ => {
                let len = usize::from(first >> 2) + 4;
                if len > 8 {
                    return Err(PayloadError::NotCanonical { kind: self.kind, field });
                }
                let mut value = [0; 8];
                value[..len].copy_from_slice(self.bytes(field, len as u64)?);
                (u64::from_le_bytes(value), if len == 4 { 1 << 30 } else { 1 << (8 * (len - 1)) })
            }
        };
        if value < least { Err(PayloadError::NotCanonical { kind: self.kind, field }) } else { Ok(value) }
    }

    pub(super) fn out_of_range(
        &self,
        field: &'static str,
        value: u64,
        allowed: &'static str,
    ) -> PayloadError {
        PayloadError::OutOfRange { kind: self.kind, field, value, allowed }
    }

    /// Checks that the payload ends here.
    pub(super) fn end(self) -> Result<(), PayloadError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(PayloadError::TrailingBytes { kind: self.kind, extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::{Compact, Decode as _, Encode as _};
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<u64, PayloadError> {
        let mut reader = Reader::new(Kind::Bitfield, bytes);
        let value = reader.compact("bits")?;
        reader.end().map(|()| value)
    }

    #[test]
    fn compact_integers_at_the_edges_of_their_forms_are_read() {
        for edge in [0, 1 << 6, 1 << 14, 1 << 30, 1 << 32, 1 << 40, 1 << 48, 1 << 56, u64::MAX] {
            for value in [edge, edge.saturating_sub(1), edge.saturating_add(1)] {
                assert_eq!(read(&Compact(value).encode()), Ok(value), "{value}");
            }
        }
    }

    #[test]
    fn a_compact_integer_in_a_longer_form_than_needed_is_refused() {
        for bytes in [
            &[0x01, 0x00][..],
            &[0xfd, 0x00],
            &[0x02, 0, 0, 0],
            &[0xfe, 0xff, 0x00, 0x00],
            &[0x03, 0, 0, 0, 0],
            &[0x07, 1, 0, 0, 0, 0],
            &[0x17, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(
                read(bytes),
                Err(PayloadError::NotCanonical { kind: Kind::Bitfield, field: "bits" }),
                "{bytes:x?}"
            );
        }
    }

    proptest! {
        #[test]
        fn compact_integers_read_as_the_scale_codec_reads_them(bytes in proptest::collection::vec(any::<u8>(), 0..10)) {
            let mut input = &bytes[..];
            let theirs = Compact::<u64>::decode(&mut input).ok().filter(|_| input.is_empty()).map(|c| c.0);
            prop_assert_eq!(read(&bytes).ok(), theirs);
        }
    }
}
