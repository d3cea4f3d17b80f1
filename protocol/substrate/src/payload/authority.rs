//! Authority-discovery records: protobuf `AuthorityRecord { repeated bytes addresses = 1; TimestampInfo creation_time
//! = 2 }`, `TimestampInfo { bytes timestamp = 1 }` (`sc-authority-discovery`, schema v2 and v3), read by hand and
//! strictly: known fields only, in order, shortest varints, addresses that parse. Protobuf is loose enough that
//! anything less would let other payloads pass as records.

use super::{
    Kind, PayloadError,
    kind::{Fields, SigningForm, Spec},
    multiaddr,
    reader::Reader,
};
use crate::{AUTHORITY_RECORD, ChainFormat, Duty};

/// Field 1, length-delimited.
const TAG_ADDRESS: u8 = 1 << 3 | 2;
/// Field 2, length-delimited.
const TAG_CREATION_TIME: u8 = 2 << 3 | 2;
/// Field 1 of `TimestampInfo`, length-delimited.
const TAG_TIMESTAMP: u8 = 1 << 3 | 2;
/// Addresses of one record at most; nodes publish about ten.
const MAX_ADDRESSES: usize = 128;
/// Bytes of one address at most.
const MAX_ADDRESS_BYTES: u64 = 512;
const KIND: Kind = Kind::AuthorityRecord;

/// Where an authority can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRecord {
    /// Multiaddrs, in order; at least one.
    pub addresses: Vec<Vec<u8>>,
    /// When the record was made, in nanoseconds since 1970; older nodes leave it out.
    pub creation_time_ns: Option<u128>,
}

impl AuthorityRecord {
    /// Protobuf bytes, as `prost` writes them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * self.addresses.len() + 20);
        for address in &self.addresses {
            out.push(TAG_ADDRESS);
            push_varint(&mut out, address.len() as u64);
            out.extend_from_slice(address);
        }
        if let Some(time) = self.creation_time_ns {
            out.extend_from_slice(&[TAG_CREATION_TIME, 18, TAG_TIMESTAMP, 16]);
            out.extend_from_slice(&time.to_le_bytes());
        }
        out
    }
}

impl Fields for AuthorityRecord {
    const SPEC: Spec = Spec {
        name: "authorityRecord",
        about: "Protobuf `AuthorityRecord`",
        class: AUTHORITY_RECORD,
        magic: None,
        max_len: 64 * 1024,
        form: SigningForm::Verbatim,
    };

    fn read(bytes: &[u8], _: &ChainFormat) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(KIND, bytes);
        let mut addresses = Vec::new();
        let mut creation_time_ns = None;
        while creation_time_ns.is_none() && !reader.is_empty() {
            match reader.u8("field tag")? {
                TAG_ADDRESS => {
                    if addresses.len() == MAX_ADDRESSES {
                        return Err(reader.out_of_range(
                            "address count",
                            MAX_ADDRESSES as u64 + 1,
                            "1 to 128",
                        ));
                    }
                    addresses.push(read_address(&mut reader, addresses.len())?);
                }
                TAG_CREATION_TIME => creation_time_ns = Some(read_creation_time(&mut reader)?),
                other => return Err(reader.out_of_range("field tag", other.into(), "0x0a or 0x12")),
            }
        }
        if addresses.is_empty() {
            return Err(reader.out_of_range("address count", 0, "1 to 128"));
        }
        // The time is the last field of every encoder, so nothing may follow it.
        reader.end()?;
        Ok(Self { addresses, creation_time_ns })
    }

    fn write(&self, _: &ChainFormat) -> Vec<u8> {
        self.encode()
    }

    fn duty(&self, _: &ChainFormat) -> Option<Duty> {
        None
    }

    fn summary(&self) -> String {
        let made = |ns| format!(" made at unix time {} s", ns / 1_000_000_000);
        let made = self.creation_time_ns.map(made).unwrap_or_default();
        format!("authority record of {} address(es){made}", self.addresses.len())
    }
}

fn read_address(reader: &mut Reader<'_>, index: usize) -> Result<Vec<u8>, PayloadError> {
    let len = varint(reader, "address length")?;
    if !(1..=MAX_ADDRESS_BYTES).contains(&len) {
        return Err(reader.out_of_range("address length", len, "1 to 512"));
    }
    let address = reader.bytes("address", len)?;
    multiaddr::check(address).map_err(|reason| PayloadError::Multiaddr { kind: KIND, index, reason })?;
    Ok(address.to_vec())
}

/// `12 0a 10 ‖ u128 LE` after the tag: a message of one field of 16 bytes.
fn read_creation_time(reader: &mut Reader<'_>) -> Result<u128, PayloadError> {
    for (field, expected, allowed) in [
        ("creation time length", 18, "18"),
        ("creation time tag", TAG_TIMESTAMP, "0x0a"),
        ("timestamp length", 16, "16"),
    ] {
        let byte = reader.u8(field)?;
        if byte != expected {
            return Err(reader.out_of_range(field, byte.into(), allowed));
        }
    }
    reader.array("timestamp").map(u128::from_le_bytes)
}

/// A protobuf varint in its shortest form.
fn varint(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, PayloadError> {
    let mut value = 0u64;
    for at in 0..5 {
        let byte = reader.u8(field)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing: the same number has a shorter form.
            return if byte == 0 && at > 0 {
                Err(PayloadError::NotCanonical { kind: KIND, field })
            } else {
                Ok(value)
            };
        }
    }
    Err(PayloadError::NotCanonical { kind: KIND, field })
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
