//! The client's certificate, key and authorities, kept up to date with their files.
//!
//! The files are read every two seconds and compared by content: tools swap symlinks, and copies keep modification
//! times. A change is taken over once two reads in a row agree, so that a certificate is never paired with the previous
//! key. What cannot be used is reported, and the client keeps what it has. Open connections are made again with the new
//! certificate before the old ones are given up. A signer that does not accept the new certificate yet is shown the old
//! one, but is itself always judged by the new authorities.

use super::{
    pem::Pem,
    tls::{self, TlsError, TlsSource},
    validity::Validity,
};
use rustls::ClientConfig;
use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

/// How often the files are read.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The client's certificates in use, from [`SignerClient::certificates`](super::SignerClient::certificates).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateStatus {
    /// When the client's own certificate ends, in Unix seconds, if it can be read.
    pub client_ends: Option<i64>,
    /// When the first of the authorities of the signers' certificates ends.
    pub authority_ends: Option<i64>,
    /// Why the content of the files is not in use, or not with every signer.
    pub not_used: Option<String>,
}

/// The TLS settings in use and the files they come from; see the module's text.
pub(super) struct LiveTls {
    source: TlsSource,
    live: RwLock<Live>,
}

struct Live {
    config: Arc<ClientConfig>,
    /// The settings with the previous certificate, for signers that do not accept the new one yet.
    fallback: Option<Arc<ClientConfig>>,
    /// Goes up with each change.
    version: u64,
    /// What the files held when they were last read.
    contents: Contents,
    status: CertificateStatus,
}

/// Digests rather than contents, as one of the files is a private key; `None` for what cannot be read.
pub(super) type Contents = [Option<[u8; 32]>; 3];

/// The settings for one handshake.
pub(super) struct HandshakeTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) version: u64,
    pub(super) fallback: Option<Arc<ClientConfig>>,
}

impl LiveTls {
    pub(super) fn new(source: TlsSource) -> Result<Self, TlsError> {
        let (live, _) = Live::load(&source)?;
        Ok(Self { source, live: RwLock::new(live) })
    }

    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    // Every change leaves it whole.
    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are files to follow.
    pub(super) const fn has_files(&self) -> bool {
        matches!(self.source, TlsSource::Files { .. })
    }

    pub(super) fn status(&self) -> Option<CertificateStatus> {
        self.has_files().then(|| self.read().status.clone())
    }

    pub(super) fn version(&self) -> u64 {
        self.read().version
    }

    /// The settings for the next handshake.
    pub(super) fn shown(&self) -> HandshakeTls {
        let Live { config, fallback, version, contents: _, status: _ } = &*self.read();
        HandshakeTls { config: config.clone(), version: *version, fallback: fallback.clone() }
    }

    /// Reads the files and says what they hold; `before` is the result of the last read. Blocks on the file system.
    pub(super) fn look(&self, before: Option<Contents>) -> Contents {
        let found = contents(&self.source);
        if found != self.read().contents {
            if before == Some(found) {
                self.reload();
            }
        } else if before.is_some_and(|before| before != found) {
            // Content that could not be used before was replaced by what is in use.
            self.tell(None);
        }
        found
    }

    /// Takes the files over, or records why not.
    fn reload(&self) {
        match self.fresh() {
            Ok(fresh) => {
                tracing::debug!(version = fresh.version, "the client's certificates were read again");
                *self.write() = fresh;
            }
            Err(why) => self.tell(Some(why)),
        }
    }

    fn fresh(&self) -> Result<Live, String> {
        let (fresh, validity) = Live::load(&self.source).map_err(|error| error.to_string())?;
        match validity {
            Some(validity) if validity.ends < now() => Err("the client's new certificate has ended".into()),
            Some(validity) if validity.begins > now() => {
                Err("the client's new certificate is not valid yet; is this machine's clock right?".into())
            }
            Some(_) | None => {
                let old = self.read();
                let mut fallback = (*fresh.config).clone();
                fallback.client_auth_cert_resolver = old.config.client_auth_cert_resolver.clone();
                Ok(Live { version: old.version + 1, fallback: Some(Arc::new(fallback)), ..fresh })
            }
        }
    }

    /// Records why the content of the files is not in use, or not everywhere.
    pub(super) fn tell(&self, not_used: Option<String>) {
        self.write().status.not_used = not_used;
    }
}

impl Live {
    /// Settings from the source as it is now, with the validity of the client's certificate.
    fn load(source: &TlsSource) -> Result<(Self, Option<Validity>), TlsError> {
        let contents = contents(source);
        let (config, status, validity) = match source {
            TlsSource::Config(config) => (config.clone(), CertificateStatus::default(), None),
            TlsSource::Files { ca, cert, key } => {
                let (ca, cert, key) = (Pem::open(ca)?, Pem::open(cert)?, Pem::open(key)?);
                let config = Arc::new(tls::config(&ca, &cert, &key)?);
                let validity = cert.certificates()?.first().and_then(|leaf| Validity::of(leaf));
                let authorities = ca.certificates()?;
                let authority_ends = authorities.iter().filter_map(|it| Some(Validity::of(it)?.ends)).min();
                let client_ends = validity.map(|validity| validity.ends);
                (config, CertificateStatus { client_ends, authority_ends, not_used: None }, validity)
            }
        };
        Ok((Self { config, fallback: None, version: 0, contents, status }, validity))
    }
}

fn contents(source: &TlsSource) -> Contents {
    match source {
        TlsSource::Config(_) => [None; 3],
        TlsSource::Files { ca, cert, key } => {
            [ca, cert, key].map(|path| Pem::open(path).ok().map(|pem| pem.digest()))
        }
    }
}

/// The time in Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
