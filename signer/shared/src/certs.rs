//! A small certificate authority for those without one: `signonce certs` and the local cluster issue with it.
//!
//! One authority issues three kinds of certificates, told apart by their names: nodes carry the DNS name
//! `node-<id>.<cluster>.signonce.internal` and the hosts that clients use; clients and admins carry a URI
//! ([`CLIENT_URI`], [`ADMIN_URI`]) and can only be TLS clients. Nothing is ever overwritten, and private keys are
//! readable by their owner alone.

use crate::tls::{ADMIN_URI, CLIENT_URI};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_protocol::{
    NodeId,
    client::pem::{self, Pem, PemError},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use time::{Duration, OffsetDateTime};

/// Days for which an authority is valid: ten years.
pub const AUTHORITY_DAYS: u32 = 3_650;
/// Days for which a certificate is valid unless told otherwise: a bit more than a year.
pub const CERTIFICATE_DAYS: u32 = 397;

/// The name of the authority's certificate in its directory.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The name of the authority's private key in its directory.
pub const CA_KEY: &str = "ca-key.pem";

/// The suffix of the DNS names that only node certificates carry.
const INTERNAL: &str = "signonce.internal";
/// Certificates are valid from this long ago, because clocks differ.
const SKEW: Duration = Duration::hours(1);

/// Why no certificate was made. Shows nothing of private keys.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// There is a file already.
    #[error("{0} exists already, and certificates and keys are never overwritten; choose another directory")]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority's files cannot be used.
    #[error("the authority in {path} cannot be used: {why}; `signonce certs init` makes one")]
    Authority {
        /// Its directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A name that a certificate cannot carry, or that would make it another's.
    #[error("{name:?} cannot be in a certificate: {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// Encoding or signing it failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A signer node: a server for clients and admins, both client and server between nodes.
    Node {
        /// Its cluster.
        cluster: ClusterId,
        /// Its id.
        node: NodeId,
        /// Host names and IP addresses that clients and admins reach it by.
        hosts: Vec<String>,
    },
    /// A validator.
    Client(String),
    /// An operator.
    Admin(String),
}

impl Subject {
    /// The first part of the file names: `node-1`, `client-a`, `admin-ops`.
    pub fn stem(&self) -> String {
        match self {
            Self::Node { node, .. } => format!("node-{node}"),
            Self::Client(name) => format!("client-{name}"),
            Self::Admin(name) => format!("admin-{name}"),
        }
    }

    fn names(&self) -> Result<Vec<SanType>, CertsError> {
        match self {
            Self::Node { cluster, node, hosts } => {
                let mut names = vec![node_name(cluster, *node)];
                for host in hosts {
                    check_host(host)?;
                    names.push(host.clone());
                }
                Ok(CertificateParams::new(names)?.subject_alt_names)
            }
            Self::Client(name) => Ok(vec![uri(CLIENT_URI, name)?]),
            Self::Admin(name) => Ok(vec![uri(ADMIN_URI, name)?]),
        }
    }

    fn uses(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Node { .. } => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::Client(_) | Self::Admin(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

fn check_host(host: &str) -> Result<(), CertsError> {
    let why = if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/:*@".contains(c)) {
        // A colon is fine in an IPv6 address only.
        if host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(());
        }
        "a host name or an IP address, without scheme, port or wildcard"
    } else if host.trim_end_matches('.').to_ascii_lowercase().ends_with(INTERNAL) {
        "names under signonce.internal say which node it is, and are added by themselves"
    } else {
        return Ok(());
    };
    Err(CertsError::BadName { name: host.to_owned(), why: why.into() })
}

fn uri(role: &str, name: &str) -> Result<SanType, CertsError> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
        let why = "1 to 64 of a-z A-Z 0-9 . _ - @".into();
        return Err(CertsError::BadName { name: name.to_owned(), why });
    }
    Ok(SanType::URI(format!("{role}{name}").try_into()?))
}

/// The two files of an issued certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// PEM: the certificate.
    pub cert: PathBuf,
    /// PEM: its private key, mode 0600.
    pub key: PathBuf,
}

/// An authority that can issue certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority in `dir`, which is created if need be.
    ///
    /// # Errors
    /// If there is one already, or the files cannot be written.
    pub fn create(dir: &Path) -> Result<Self, CertsError> {
        let (cert_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        refuse_existing([&cert_path, &key_path])?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Signonce authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, AUTHORITY_DAYS);
        let made = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        make_dir(dir)?;
        write_new(&key_path, made.key().serialize_pem().as_bytes(), 0o600)?;
        write_new(&cert_path, made.pem().as_bytes(), 0o644)?;
        Self::open(dir)
    }

    /// Opens the authority that [`Self::create`] made in `dir`.
    ///
    /// # Errors
    /// If the files cannot be read or used.
    pub fn open(dir: &Path) -> Result<Self, CertsError> {
        let unusable = |why: String| CertsError::Authority { path: dir.to_owned(), why };
        let files = || pem::pair(&Pem::open(&dir.join(CA_CERTIFICATE))?, &Pem::open(&dir.join(CA_KEY))?);
        let (certificates, key) = files().map_err(|e: PemError| unusable(e.to_string()))?;
        let made = |e: rcgen::Error| unusable(e.to_string());
        let key = KeyPair::try_from(&key).map_err(made)?;
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificates[0], key).map_err(made)? })
    }

    /// Issues a certificate with a new key, valid for `days`, into `dir` as `<stem>.pem` and `<stem>-key.pem`.
    ///
    /// # Errors
    /// If one of the files exists, a name cannot be in a certificate, or a file cannot be written.
    pub fn issue(&self, dir: &Path, subject: &Subject, days: u32) -> Result<Issued, CertsError> {
        let stem = subject.stem();
        let cert = dir.join(format!("{stem}.pem"));
        let key = dir.join(format!("{stem}-key.pem"));
        refuse_existing([&cert, &key])?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, stem);
        params.subject_alt_names = subject.names()?;
        params.extended_key_usages = subject.uses();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, days);
        let pair = KeyPair::generate()?;
        let made = params.signed_by(&pair, &self.issuer)?;
        make_dir(dir)?;
        write_new(&key, zeroize::Zeroizing::new(pair.serialize_pem()).as_bytes(), 0o600)?;
        write_new(&cert, made.pem().as_bytes(), 0o644)?;
        Ok(Issued { cert, key })
    }
}

fn set_validity(params: &mut CertificateParams, days: u32) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + Duration::days(days.into());
}

fn refuse_existing<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), CertsError> {
    match paths.into_iter().find(|path| path.exists()) {
        Some(path) => Err(CertsError::Exists(path.clone())),
        None => Ok(()),
    }
}

fn make_dir(dir: &Path) -> Result<(), CertsError> {
    let failed = |source| CertsError::File { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)
}

/// Writes a file that was not there before, durably.
///
/// # Errors
/// [`CertsError::Exists`] if the file exists.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertsError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists(path.to_owned()),
        _ => CertsError::File { path: path.to_owned(), source },
    };
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::PeerIdentity;
    use std::os::unix::fs::PermissionsExt as _;

    fn node(hosts: &[&str]) -> Subject {
        let hosts = hosts.iter().map(|h| (*h).to_owned()).collect();
        Subject::Node { cluster: ClusterId([7; 16]), node: NodeId(2), hosts }
    }

    #[test]
    fn an_authority_and_its_certificates_are_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        assert!(matches!(Authority::create(dir.path()), Err(CertsError::Exists(_))));
        let subject = Subject::Client("a".into());
        let issued = authority.issue(dir.path(), &subject, 10).unwrap();
        let before = fs::read(&issued.key).unwrap();
        assert!(matches!(authority.issue(dir.path(), &subject, 10), Err(CertsError::Exists(_))));
        assert_eq!(fs::read(&issued.key).unwrap(), before);
    }

    #[test]
    fn private_keys_are_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let issued = authority.issue(dir.path(), &Subject::Admin("ops".into()), 10).unwrap();
        for path in [dir.path().join(CA_KEY), issued.key] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
    }

    #[test]
    fn clients_and_admins_are_told_apart_by_their_certificates() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path()).unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        for (subject, client, admin) in [
            (Subject::Client("a".into()), Some("a"), None),
            (Subject::Admin("ops".into()), None, Some("ops")),
            (node(&["signer.example", "10.0.0.1", "::1"]), None, None),
        ] {
            let issued = authority.issue(dir.path(), &subject, 10).unwrap();
            let identity = PeerIdentity::of_file(&issued.cert).unwrap();
            assert_eq!((identity.client.as_deref(), identity.admin.as_deref()), (client, admin));
        }
    }

    #[test]
    fn a_name_that_would_make_it_anothers_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        for subject in [
            node(&["node-1.07070707070707070707070707070707.signonce.internal"]),
            node(&["NODE-1.x.SIGNONCE.INTERNAL"]),
            node(&["*.example"]),
            node(&["host:7301"]),
            node(&[""]),
            Subject::Client("a b".into()),
            Subject::Client(String::new()),
            Subject::Admin("../x".into()),
        ] {
            let refused = authority.issue(dir.path(), &subject, 10);
            assert!(matches!(refused, Err(CertsError::BadName { .. })), "{subject:?}");
        }
    }
}
