//! From when until when a certificate is valid: for the client's status, and to ignore a new certificate that nobody
//! would accept now.

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Unix seconds; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: i64,
    pub(super) ends: i64,
}

impl Validity {
    /// The validity of a certificate in DER; `None` if it cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() })
    }
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
        let good = b"200101000000Z";
        let at = der.windows(good.len()).position(|part| part == good).expect("when it begins");
        for bad in [b"991301000000Z", b"990132000000Z", b"99010100000xZ", b"990101000000+"] {
            let mut der = der.clone();
            der[at..at + good.len()].copy_from_slice(bad);
            assert_eq!(Validity::of(&der), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
