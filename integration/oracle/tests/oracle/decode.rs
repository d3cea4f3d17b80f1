//! Our decoders against the reference's encoders and decoders.

use crate::{
    cases::{Case, MAKERS, babe_header, babe_session_change, formats, hex},
    random::Random,
};
use parity_scale_codec::Encode as _;
use signonce_protocol::{ChainId, Digest, HexBytes, RawPayload};
use signonce_substrate::Kind;
use signonce_substrate::{ChainFormat, ChainSettings, Limits, Payload, PayloadError, possible_kinds};
use sp_runtime::DigestItem;

/// Cases of each kind and format.
const SEEDS: u64 = 60;

/// Calls `test` with many cases of every kind.
fn for_all(mut test: impl FnMut(&str, &mut Random, &Case)) {
    for (name, make) in MAKERS {
        for format in formats() {
            for seed in 0..SEEDS {
                let mut random = Random::new(seed);
                let case = make(&mut random, format);
                let at = format!("{name}, seed {seed}, {format:?}: {}", hex(&case.bytes));
                test(&at, &mut random, &case);
            }
        }
    }
}

#[test]
fn what_the_reference_encodes_is_read_as_it_means_it() {
    for_all(|at, _, case| {
        let kind = case.content.kind();
        let payload =
            Payload::decode(kind, &case.bytes, &case.format).unwrap_or_else(|e| panic!("{at}: {e}"));
        assert_eq!(payload.content(), &case.content, "{at}");
        assert_eq!(serde_json::to_value(payload.duty()).expect("a duty is JSON"), case.duty, "{at}");
        assert_eq!(payload.to_sign(), case.signed.to_sign(), "{at}");
        assert_eq!(payload.digest(), Digest(case.digest()), "{at}");
        assert_eq!(case.content.encode(&case.format), case.bytes, "{at}");
        let mut competing = possible_kinds(&case.bytes, &case.format);
        competing.retain(|other| hash_of(*other) == hash_of(kind));
        assert_eq!(competing, [kind], "{at}");
        // And by the family, as signers read it.
        let (format, limits) = (case.format, Limits::default());
        let chain = ChainSettings { format, slot_duration_ms: 6_000, limits }.chain(ChainId([1; 32]), "c");
        let raw = RawPayload::new(kind.into(), HexBytes(case.bytes.clone()));
        let general = raw.decode(&chain).unwrap_or_else(|e| panic!("{at}: {e}"));
        assert_eq!((general.digest(), raw.digest()), (payload.digest(), payload.digest()), "{at}");
        assert_eq!(general.to_sign(), payload.to_sign(), "{at}");
        assert_eq!(serde_json::to_value(general.duty()).expect("a duty is JSON"), case.duty, "{at}");
    });
}

/// What of a kind's bytes is signed. Kinds that differ in it cannot meet in one signed message: a bitfield of one core
/// may well have the bytes of a commitment (seed 9 makes one), but no commitment's bytes are ever signed themselves.
fn hash_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::BabeHeader | Kind::AuraHeader => Some("blake2"),
        Kind::BeefyCommitment => Some("keccak"),
        _ => None,
    }
}

#[test]
fn the_cases_are_what_the_reference_reads() {
    for_all(|at, _, case| {
        let reread = (case.reread)(&case.bytes, &case.format).unwrap_or_else(|| panic!("{at}"));
        assert_eq!(reread.bytes, case.bytes, "{at}");
        assert_eq!(reread.duty.unwrap_or_default(), case.duty, "{at}");
    });
}

#[test]
fn damaged_bytes_are_read_as_the_reference_reads_them_or_refused() {
    let (mut read, mut refused) = (0, 0);
    for_all(|at, random, case| {
        for _ in 0..12 {
            let bytes = damage(random, &case.bytes);
            match agree(case, &bytes) {
                Ok(true) => read += 1,
                Ok(false) => refused += 1,
                Err(why) => panic!("{why}\n damaged: {}\n original: {at}", hex(&bytes)),
            }
        }
    });
    assert!(
        read > 1000 && refused > 1000,
        "the damage is too great or too small: {read} read, {refused} refused"
    );
}

/// Whether we read the bytes, or what we and the reference do not agree on.
fn agree(case: &Case, bytes: &[u8]) -> Result<bool, String> {
    let reread = (case.reread)(bytes, &case.format).filter(|it| it.bytes == bytes);
    match (Payload::decode(case.content.kind(), bytes, &case.format), reread) {
        (Ok(payload), Some(reread)) => {
            let duty = serde_json::to_value(payload.duty()).map_err(|e| e.to_string())?;
            match reread.duty {
                // The reference also decodes the curve points of a VRF, and reads nothing where they are none.
                Some(theirs) if theirs != duty => Err(format!("duty {duty}, the reference says {theirs}")),
                _ => Ok(true),
            }
        }
        (Ok(payload), None) => Err(format!("read as {}, the reference reads nothing", payload.summary())),
        (Err(error), Some(_)) if !is_rule(&error) => Err(format!("the reference reads it: {error}")),
        (Err(_), _) => Ok(false),
    }
}

/// Whether bytes were refused for what they say, not for how they are encoded.
fn is_rule(error: &PayloadError) -> bool {
    match error {
        PayloadError::TooLong { .. }
        | PayloadError::OutOfRange { .. }
        | PayloadError::WrongMagic { .. }
        | PayloadError::OtherIntent { .. }
        | PayloadError::Ambiguous { .. }
        | PayloadError::LooksLikeHash { .. }
        | PayloadError::Sealed { .. }
        | PayloadError::PreRuntimeDigests { .. }
        | PayloadError::PreDigestLength { .. }
        | PayloadError::NotSorted { .. }
        | PayloadError::Duplicate { .. } => true,
        PayloadError::Truncated { .. }
        | PayloadError::TrailingBytes { .. }
        | PayloadError::NotCanonical { .. }
        | PayloadError::UnknownDigestItem { .. }
        | PayloadError::Multiaddr { .. } => false,
    }
}

fn damage(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = random.below(bytes.len() as u64) as usize;
    let byte = random.u64() as u8;
    match random.below(8) {
        0..3 => out[at] ^= 1 << random.below(8),
        3 => out[at] = byte,
        4 => out.truncate(at),
        5 => out.push(byte),
        6 => out.insert(at, byte),
        _ => {
            out.remove(at);
        }
    }
    out
}

#[test]
fn a_session_change_of_a_thousand_authorities_is_read() {
    let case = babe_session_change(&mut Random::new(1), ChainFormat::default(), 1000);
    assert!(case.bytes.len() > 100_000);
    let payload = Payload::decode(case.content.kind(), &case.bytes, &case.format).expect("an honest header");
    assert_eq!(payload.digest(), Digest(case.digest()));
}

#[test]
fn a_header_with_the_references_seal_is_refused() {
    use sp_consensus_babe::{AuthoritySignature, digests::CompatibleDigestItem as _};
    let mut random = Random::new(2);
    for format in formats() {
        let case = babe_header(&mut random, format);
        let signature = sp_core::sr25519::Signature::from_raw([7; 64]);
        let seal = DigestItem::babe_seal(AuthoritySignature::from(signature)).encode();
        let mut bytes = case.bytes.clone();
        // The digest's length is a compact of one byte behind parent, number and two roots.
        let digest_at = bytes.len() - digest_len(&case);
        bytes[digest_at] += 4;
        bytes.extend_from_slice(&seal);
        assert!((case.reread)(&bytes, &format).is_some(), "the reference reads it");
        let error = Payload::decode(case.content.kind(), &bytes, &format).expect_err("it is sealed");
        assert!(matches!(error, PayloadError::Sealed { .. }), "{error}");
    }
}

fn digest_len(case: &Case) -> usize {
    let signonce_substrate::Content::BabeHeader(it) = &case.content else { panic!("a BABE header") };
    let mut empty = it.header.clone();
    empty.digest.clear();
    case.bytes.len() - empty.encode().len() + 1
}
