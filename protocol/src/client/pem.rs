//! The one reader of certificates and private keys: PEM files, and advice about everything else that people keep under
//! such a name.
//!
//! The client reads its files with it; the signer reads its own files, its operators' and those it registers. An error
//! names what was found and what to do about it; it never shows anything of a key's content.

use crate::blake2_256;
use rustls::{Error, InconsistentKeys, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// The largest file read. A bundle of every public authority is a fifth of this.
const MAX_BYTES: u64 = 1 << 20;

/// The kinds of keys that TLS takes here.
pub const KINDS_THAT_WORK: &str = "ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits";

/// UTF-8's byte order mark, which editors of one system put in front of text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Kinds of keys by their object identifiers, in DER.
const KINDS: [(&str, &[u8]); 13] = [
    ("ECDSA on P-256", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
    ("ECDSA on P-384", b"\x06\x05\x2b\x81\x04\x00\x22"),
    ("ECDSA on P-521", b"\x06\x05\x2b\x81\x04\x00\x23"),
    ("ECDSA on secp256k1", b"\x06\x05\x2b\x81\x04\x00\x0a"),
    ("ECDSA on P-224", b"\x06\x05\x2b\x81\x04\x00\x21"),
    ("ECDSA on a Brainpool curve", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01"),
    ("RSA", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"),
    ("RSA for PSS alone", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"),
    ("Ed25519", b"\x06\x03\x2b\x65\x70"),
    ("Ed448", b"\x06\x03\x2b\x65\x71"),
    ("X25519, which cannot sign", b"\x06\x03\x2b\x65\x6e"),
    ("DSA", b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01"),
    ("ML-DSA", b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03"),
];

/// What a file is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificate,
    /// A private key.
    Key,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
        })
    }
}

/// Why a file cannot be used, and what would work. Shows nothing of a key.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PemError {
    /// The path of the file, or a description of the bytes.
    pub place: String,
    /// What is wrong with it.
    pub problem: PemProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum PemProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// There is nothing in it.
    #[error("it is empty; a {0} in PEM form is needed")]
    Empty(Wanted),
    /// DER.
    #[error(
        "it is DER, the binary form, and PEM is needed: `openssl {} -inform der -in FILE -out NEW` makes that of it",
        converter(.0)
    )]
    Der(Wanted),
    /// PKCS#12.
    #[error(
        "it is PKCS#12 (.p12, .pfx), and PEM is needed: `openssl pkcs12 -in FILE -nokeys -out CERT` and `openssl \
         pkcs12 -in FILE -nocerts -noenc -out KEY` take it apart"
    )]
    Pkcs12,
    /// Text in two-byte characters.
    #[error("it is UTF-16 text; store it as UTF-8 or plain ASCII")]
    Utf16,
    /// Neither text nor DER.
    #[error("it is neither PEM nor DER; a {0} in PEM form is needed")]
    Unknown(Wanted),
    /// Blocks of other kinds, or none.
    #[error("there is no {wanted} in it: {}", inventory(.found))]
    Missing {
        /// What was expected.
        wanted: Wanted,
        /// The labels of the blocks in it.
        found: Vec<String>,
    },
    /// A key that only a passphrase opens.
    #[error(
        "the private key in it is encrypted, and nobody is asked for its passphrase: store it decrypted, readable by \
         its owner alone (`openssl pkey -in FILE -out NEW`), or hand it over as a credential (systemd's \
         LoadCredentialEncrypted=, a Kubernetes secret)"
    )]
    Encrypted,
    /// A block that is not one of its kind.
    #[error("{0}; was it cut off or copied with something else?")]
    Malformed(&'static str),
    /// A kind of key that TLS does not take here.
    #[error("{}", kind_text(.0))]
    Kind(Option<&'static str>),
    /// X.509 version 1.
    #[error(
        "its certificate is of X.509 version 1, which has no names and no uses in it: issue one of version 3 (with \
         `openssl x509 -req` that takes -extfile, or `signonce certs issue`)"
    )]
    VersionOne,
    /// rustls cannot read the certificate.
    #[error("its first certificate cannot be used: {0}")]
    Unusable(Error),
    /// The key's certificate is there, but not first.
    #[error(
        "the first certificate in it is not that of the key in {key}, number {number} is: put that one first, and those \
         of authorities after it"
    )]
    WrongOrder {
        /// Where the key is.
        key: String,
        /// Which of the certificates is the key's.
        number: usize,
    },
    /// Certificate and key are of two pairs.
    #[error("no certificate in it is that of the key in {key}: take both from one issue")]
    NotOfKey {
        /// Where the key is.
        key: String,
    },
}

fn converter(wanted: &Wanted) -> &'static str {
    match wanted {
        Wanted::Certificate => "x509",
        Wanted::Key => "pkey",
    }
}

fn kind_text(kind: &Option<&'static str>) -> String {
    let what = match kind {
        Some("RSA") => "the key is RSA of a size that TLS does not take here, or damaged".to_owned(),
        Some(kind) => format!("the key is {kind}, which TLS does not take here, or damaged"),
        None => "the key is of a kind that TLS does not take here, or damaged".to_owned(),
    };
    format!("{what}; issue one with another key: {KINDS_THAT_WORK}")
}

fn inventory(found: &[String]) -> String {
    if found.is_empty() {
        return "no line of it begins with `-----BEGIN `, as PEM does".to_owned();
    }
    let hint = found.iter().find_map(|label| match label.as_str() {
        "TRUSTED CERTIFICATE" => {
            Some("; that is OpenSSL's own form: `openssl x509 -in FILE -out NEW` makes a plain one")
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            Some("; give the certificate that the authority made of the request")
        }
        "OPENSSH PRIVATE KEY" => Some("; that is a key of SSH: make one for the certificate"),
        _ => None,
    });
    format!("it holds {}{}", found.join(", "), hint.unwrap_or_default())
}

/// The bytes of a file, with the name that errors give it.
pub struct Pem {
    place: String,
    bytes: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Pem {
    /// Wipes the bytes: the file may be a private key.
    fn drop(&mut self) {
        self.bytes.fill(0);
        std::hint::black_box(&self.bytes);
    }
}

impl Pem {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is not a regular file (a pipe would be waited for), or is far too long.
    pub fn open(path: &Path) -> Result<Self, PemError> {
        let place = path.display().to_string();
        match read(path) {
            Ok(bytes) => Ok(Self { place, bytes }),
            Err(why) => Err(PemError { place, problem: PemProblem::Unreadable(why) }),
        }
    }

    /// Bytes that were read already; errors call them `place`.
    pub fn of(place: impl Into<String>, bytes: &[u8]) -> Self {
        Self { place: place.into(), bytes: bytes.to_vec() }
    }

    /// The digest by which a change of the file is noticed.
    pub(super) fn digest(&self) -> [u8; 32] {
        blake2_256(&self.bytes)
    }

    /// The certificates, at least one.
    ///
    /// # Errors
    /// If there is no certificate, or a block that is not one.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let text = self.text(Wanted::Certificate)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let found = read.map_err(|e| self.failed(malformed(&e)))?;
        if found.is_empty() {
            let problem = PemProblem::Missing { wanted: Wanted::Certificate, found: labels(text) };
            return Err(self.failed(problem));
        }
        Ok(found)
    }

    /// The certificate chain of one party, its own certificate first.
    ///
    /// # Errors
    /// As [`Self::certificates`], and if the first is one that TLS cannot use.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let chain = self.certificates()?;
        if chain.first().is_some_and(|leaf| is_version_one(leaf)) {
            return Err(self.failed(PemProblem::VersionOne));
        }
        Ok(chain)
    }

    /// The private key in the file.
    ///
    /// # Errors
    /// If there is none, it is encrypted, or TLS does not accept its kind.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        let text = self.text(Wanted::Key)?;
        let found = labels(text);
        if found.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") || has_encrypted_header(text) {
            return Err(self.failed(PemProblem::Encrypted));
        }
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|e| match e {
            pem::Error::NoItemsFound => self.failed(PemProblem::Missing { wanted: Wanted::Key, found }),
            other => self.failed(malformed(&other)),
        })?;
        match ring::sign::any_supported_type(&key) {
            Ok(_) => Ok(key),
            Err(_) => Err(self.failed(PemProblem::Kind(kind_of_key(key.secret_der())))),
        }
    }

    /// The text without a byte order mark.
    fn text(&self, wanted: Wanted) -> Result<&[u8], PemError> {
        let bytes = self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes);
        let problem = match bytes {
            _ if bytes.trim_ascii().is_empty() => PemProblem::Empty(wanted),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => PemProblem::Utf16,
            _ if is_der(bytes) => match inside(bytes) {
                Some([0x02, 0x01, 0x03, ..]) => PemProblem::Pkcs12,
                _ => PemProblem::Der(wanted),
            },
            _ if std::str::from_utf8(bytes).is_err() && labels(bytes).is_empty() => {
                PemProblem::Unknown(wanted)
            }
            _ => return Ok(bytes),
        };
        Err(self.failed(problem))
    }

    fn failed(&self, problem: PemProblem) -> PemError {
        PemError { place: self.place.clone(), problem }
    }
}

/// A chain and the key of its first certificate.
///
/// # Errors
/// If one of them cannot be used, or they do not belong together.
pub fn pair(
    cert: &Pem,
    key: &Pem,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PemError> {
    let (secret, chain) = (key.key()?, cert.certificates()?);
    let Ok(signing) = ring::sign::any_supported_type(&secret) else {
        return Err(key.failed(PemProblem::Kind(kind_of_key(secret.secret_der()))));
    };
    let of_key = |at: usize| CertifiedKey::new(chain[at..=at].to_vec(), signing.clone()).keys_match();
    let named = || key.place.clone();
    match of_key(0) {
        // A certificate that does not tell its public key cannot be compared; the first handshake will.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((chain, secret)),
        Err(Error::InconsistentKeys(_)) => {
            Err(cert.failed(match (1..chain.len()).find(|at| of_key(*at).is_ok()) {
                Some(at) => PemProblem::WrongOrder { key: named(), number: at + 1 },
                None => PemProblem::NotOfKey { key: named() },
            }))
        }
        Err(_) if is_version_one(&chain[0]) => Err(cert.failed(PemProblem::VersionOne)),
        Err(why) => Err(cert.failed(PemProblem::Unusable(why))),
    }
}

/// The kind of a public or private key in DER, if it is a known one.
pub fn kind_of_key(der: &[u8]) -> Option<&'static str> {
    let has = |kind: &&(&str, &[u8])| der.windows(kind.1.len()).any(|part| part == kind.1);
    KINDS.iter().find(has).map(|kind| kind.0)
}

/// Reads such a file without looking at its content.
///
/// # Errors
/// As [`Pem::open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(odd("it is a directory"));
    }
    if !found.is_file() {
        return Err(odd("it is a pipe or a device, not a regular file"));
    }
    // At its full size, so that growing it leaves no copy of a key behind.
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(MAX_BYTES)).unwrap_or_default() + 1);
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(odd("it is longer than 1 MiB, which no certificate or key is"));
    }
    Ok(bytes)
}

/// The labels of the blocks in a text.
fn labels(text: &[u8]) -> Vec<String> {
    let label = |line: &[u8]| {
        let label = line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        Some(String::from_utf8_lossy(label).into_owned())
    };
    text.split(|byte| *byte == b'\n').filter_map(label).collect()
}

/// OpenSSL's older form of encryption, inside a block that looks like a plain one.
fn has_encrypted_header(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
}

/// The parser's errors can quote the line at fault, which may be key material.
fn malformed(error: &pem::Error) -> PemProblem {
    PemProblem::Malformed(match error {
        pem::Error::MissingSectionEnd { .. } => "a block in it has no end line",
        pem::Error::IllegalSectionStart { .. } => "the first line of a block in it is not as it should be",
        pem::Error::Base64Decode(_) => "a block in it is not base64",
        _ => "it cannot be parsed as PEM",
    })
}

/// Whether a file is a DER sequence, which begins with the byte of a `0`: no text has the bytes of a long length behind
/// it, and none is as long as a short one says but by chance.
fn is_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x81..=0x84, ..] => true,
        [0x30, length, rest @ ..] => usize::from(*length) == rest.len(),
        _ => false,
    }
}

/// What is inside the DER sequence at the start of `der`, and whatever follows that.
fn inside(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, 0..=0x7f, rest @ ..] => Some(rest),
        // So many bytes of length follow.
        [0x30, length @ 0x81..=0x84, rest @ ..] => rest.get(usize::from(length - 0x80)..),
        _ => None,
    }
}

/// Whether a certificate has no version in it, which means version 1: then the serial number comes first.
fn is_version_one(der: &[u8]) -> bool {
    inside(der).and_then(inside).and_then(<[u8]>::first) == Some(&0x02)
}

#[cfg(test)]
mod tests;
