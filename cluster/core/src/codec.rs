//! The one binary envelope of everything that is stored or replicated: commands, records, snapshots.
//!
//! Layout: one version byte, the body, the CRC-32 (IEEE, little-endian) of both. Bodies are SCALE with explicit
//! indexes. Decoding is strict (no bytes left over) and total (no input panics). The checksum is judged before the
//! version, so a flipped bit is called corruption and never a newer format.

use parity_scale_codec::{Decode, DecodeAll, Encode};

/// Bytes the envelope adds to a body: the version and the checksum.
pub const ENVELOPE_OVERHEAD: usize = 1 + CHECKSUM_LEN;

const CHECKSUM_LEN: usize = 4;

/// Why some bytes are not the record they should be. None of these may be skipped: the caller stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Shorter than an empty envelope.
    #[error("a record of {len} bytes is cut short: even an empty one has {ENVELOPE_OVERHEAD}")]
    TooShort {
        /// Bytes found.
        len: usize,
    },
    /// The bytes are not those that were written.
    #[error(
        "checksum mismatch: {stored:#010x} is stored, the bytes give {computed:#010x}; the record is damaged"
    )]
    Checksum {
        /// The checksum in the envelope.
        stored: u32,
        /// The checksum of the bytes in front of it.
        computed: u32,
    },
    /// Written by another version of the program.
    #[error(
        "record version {found} is unknown (this program reads {known}): upgrade this node before it goes on"
    )]
    UnknownVersion {
        /// The version in the envelope.
        found: u8,
        /// The version asked for.
        known: u8,
    },
    /// A sound envelope around a body that is no such value.
    #[error("not a {what}: {reason}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What the decoder met.
        reason: String,
    },
}

/// Puts `body` into an envelope.
pub fn seal_record(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + ENVELOPE_OVERHEAD);
    bytes.push(version);
    bytes.extend_from_slice(body);
    finish(bytes)
}

/// Takes the body out of an envelope of exactly this version.
///
/// # Errors
/// Every [`CodecError`] but `Malformed`.
pub fn open_record(version: u8, bytes: &[u8]) -> Result<&[u8], CodecError> {
    let too_short = || CodecError::TooShort { len: bytes.len() };
    let (signed, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or_else(too_short)?;
    let (&found, body) = signed.split_first().ok_or_else(too_short)?;
    let (stored, computed) = (u32::from_le_bytes(*checksum), crc32fast::hash(signed));
    if stored != computed {
        return Err(CodecError::Checksum { stored, computed });
    }
    if found != version {
        return Err(CodecError::UnknownVersion { found, known: version });
    }
    Ok(body)
}

/// Encodes `value` and puts it into an envelope.
pub fn encode_record<T: Encode + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.size_hint() + ENVELOPE_OVERHEAD);
    bytes.push(version);
    value.encode_to(&mut bytes);
    finish(bytes)
}

/// Opens an envelope and decodes its body, all of it. `what` names the value in errors.
///
/// # Errors
/// Every [`CodecError`].
pub fn decode_record<T: Decode>(version: u8, what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    decode_body(what, open_record(version, bytes)?)
}

/// Decodes all of `body`, a plain SCALE value without an envelope.
///
/// # Errors
/// [`CodecError::Malformed`].
pub fn decode_body<T: Decode>(what: &'static str, mut body: &[u8]) -> Result<T, CodecError> {
    T::decode_all(&mut body).map_err(|e| CodecError::Malformed { what, reason: e.to_string() })
}

/// Appends the checksum of everything so far.
fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_envelope_is_version_body_checksum() {
        let sealed = seal_record(7, b"body");
        assert_eq!(&sealed[..5], b"\x07body");
        assert_eq!(sealed[5..], crc32fast::hash(b"\x07body").to_le_bytes());
        assert_eq!(open_record(7, &sealed), Ok(&b"body"[..]));
    }

    #[test]
    fn another_version_is_named() {
        let error = open_record(1, &seal_record(2, b"")).unwrap_err();
        assert_eq!(error, CodecError::UnknownVersion { found: 2, known: 1 });
    }

    #[test]
    fn bytes_left_over_are_refused() {
        let sealed = seal_record(1, &[1, 0, 0, 0, 9]);
        assert!(matches!(decode_record::<u32>(1, "number", &sealed), Err(CodecError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_called_damage(body: Vec<u8>, version: u8, position: prop::sample::Index) {
            let mut sealed = seal_record(version, &body);
            let bit = position.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            let is_checksum = matches!(open_record(version, &sealed), Err(CodecError::Checksum { .. }));
            prop_assert!(is_checksum);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, version: u8) {
            let _ = decode_record::<Vec<String>>(version, "strings", &bytes);
        }

        #[test]
        fn what_was_sealed_is_what_is_opened(value: Vec<(u32, String)>, version: u8) {
            prop_assert_eq!(decode_record(version, "pairs", &encode_record(version, &value)), Ok(value));
        }
    }
}
