//! From when and until when a certificate is valid: the one thing of X.509 that the client reads for itself, for its
//! status and to leave alone a certificate that nobody takes now. Signatures and names are rustls' business.

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Both ends are included; in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: i64,
    pub(super) ends: i64,
}

impl Validity {
    /// Of a certificate in DER; `None` if it cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = value(SEQUENCE, der)?;
        let (signed, _) = value(SEQUENCE, certificate)?;
        // Certificates of version 1 do not say so.
        let rest = value(VERSION, signed).map_or(signed, |(_, rest)| rest);
        let (_serial, rest) = value(INTEGER, rest)?;
        let (_algorithm, rest) = value(SEQUENCE, rest)?;
        let (_issuer, rest) = value(SEQUENCE, rest)?;
        let (validity, _) = value(SEQUENCE, rest)?;
        let (begins, rest) = time(validity)?;
        let (ends, _) = time(rest)?;
        Some(Self { begins, ends })
    }
}

/// The value with this tag at the start of `der`, and what follows it.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // So many bytes of length follow.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (
                length
                    .iter()
                    .try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?,
                rest,
            )
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, the only forms in certificates (RFC 5280, 4.1.2.5).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (text, years, rest) = match value(UTC_TIME, der) {
        Some((text, rest)) => (text, 2, rest),
        None => value(GENERALIZED_TIME, der).map(|(text, rest)| (text, 4, rest))?,
    };
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == years + 10)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest_of_digits) = digits.split_at(years);
    let year = match (years, number(year)) {
        (2, year @ 0..50) => 2_000 + year,
        (2, year) => 1_900 + year,
        (_, year) => year,
    };
    let mut two = rest_of_digits.chunks(2).map(number);
    let mut next = || two.next();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let days = days(year, month, day)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

/// Days from the first of 1970 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Five months from March on have 153 days, and so have the next five.
    let in_year = (153 * month + 2) / 5 + day - 1;
    /// From the first of March of the year 0 to the first of 1970.
    const TO_1970: i64 = 719_468;
    Some(year * 365 + leap_days + in_year - TO_1970)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(begins: (i32, u8, u8), ends: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
        params.not_before = date_time_ymd(begins.0, begins.1, begins.2);
        params.not_after = date_time_ymd(ends.0, ends.1, ends.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_ends_are_read_in_both_forms_of_time() {
        for (date, seconds) in [
            ((1975, 1, 1), 157_766_400),
            ((1999, 12, 31), 946_598_400),
            ((2000, 2, 29), 951_782_400),
            ((2026, 11, 30), 1_795_996_800),
            ((2049, 12, 31), 2_524_521_600),
            // From here on with four digits of the year.
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            let der = certificate(date, (2200, 1, 1));
            assert_eq!(
                Validity::of(&der),
                Some(Validity { begins: seconds, ends: 7_258_118_400 }),
                "{date:?}"
            );
        }
    }

    #[test]
    fn whatever_is_cut_off_or_no_certificate_has_no_validity() {
        let der = certificate((2020, 1, 1), (2030, 1, 1));
        for length in 0..der.len() {
            assert_eq!(Validity::of(&der[..length]), None, "{length}");
        }
        assert_eq!(Validity::of(b"-----BEGIN CERTIFICATE-----"), None);
        for bad in ["991301000000Z", "990132000000Z", "9901010000Z", "99010100000xZ", "990101000000+"] {
            let bytes = [&[UTC_TIME, u8::try_from(bad.len()).unwrap()], bad.as_bytes()].concat();
            assert_eq!(time(&bytes), None, "{bad}");
        }
    }
}
