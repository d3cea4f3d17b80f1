//! Certificates, keys and authorities that change while the node runs.
//!
//! The files are read every two seconds, and at once on SIGHUP. They are compared by content, not by time: cert-manager
//! and `kubectl` swap symlinks, and copies keep modification times. A change is taken over once two reads in a row
//! agree, so that a certificate is never paired with the previous key. What cannot be used (another name, a key that is
//! not the certificate's, a date that has passed) is reported, and the node keeps what it has.
//!
//! New connections of clients, admins and peers use the new files; open ones continue. Whether a client or an admin may
//! still do anything is checked at each request, and has nothing to do with this.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use signonce_cluster::{LivePeerTls, PeerTls, clock::unix_ms};
use signonce_protocol::client::pem;
use signonce_shared::config::TlsFiles;
use signonce_shared::{
    admin::api::TlsStatus,
    tls::{self, Credentials, TlsError, leaf::Role},
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// How often the files are read.
const LOOK: Duration = Duration::from_secs(2);

/// The TLS settings in use and the files they come from; see the module's text.
pub struct LiveTls {
    files: TlsFiles,
    live: RwLock<Live>,
}

struct Live {
    server: Arc<ServerConfig>,
    /// The settings for asking other members.
    client: Arc<ClientConfig>,
    /// What the files held when they were last read.
    contents: Contents,
    status: TlsStatus,
}

/// A digest: one of the files is a private key.
type Contents = [u8; 32];

impl fmt::Debug for LiveTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl LiveTls {
    /// Loads the settings from the files as they are now.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let contents = contents(files);
        let server = Arc::new(tls::server_config(files)?);
        let client = Arc::new(tls::client_config(files)?);
        tls::check_issued(files)?;
        let status = TlsStatus {
            certificate_ends: tls::first_end(&tls::read_certificates(&files.cert)?).unwrap_or_default(),
            authority_ends: tls::first_end(&tls::read_certificates(&files.ca)?).unwrap_or_default(),
            not_reloaded: None,
        };
        Ok(Self { files: files.clone(), live: RwLock::new(Live { server, client, contents, status }) })
    }

    /// The acceptor for the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.read().server))
    }

    /// The settings for asking another member.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.read().client)
    }

    /// The certificates in use, and whether they are those in the files.
    pub fn status(&self) -> TlsStatus {
        self.read().status.clone()
    }

    /// Follows the files until the process ends. Changes are passed on to `peers`.
    pub async fn follow(self: Arc<Self>, peers: LivePeerTls) {
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload the certificates"))
            .ok();
        let mut known = self.read().contents;
        let mut before = known;
        loop {
            let asked = tokio::select! {
                () = hung_up(&mut hangup) => true,
                () = sleep(LOOK) => false,
            };
            let this = Arc::clone(&self);
            let Some(found) = elsewhere(move || contents(&this.files)).await else { return };
            let settled = found == std::mem::replace(&mut before, found);
            if asked || (found != known && settled) {
                known = found;
                let (this, peers) = (Arc::clone(&self), peers.clone());
                if elsewhere(move || this.reload(&peers)).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Takes the files over, or logs why not.
    fn reload(&self, peers: &LivePeerTls) {
        match self.try_reload(peers) {
            Ok(fresh) => {
                let TlsStatus { certificate_ends, authority_ends, .. } = fresh.status;
                tracing::info!(certificate_ends, authority_ends, "certificates reloaded");
                *self.live.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(error, "new certificates cannot be used; the node goes on with those it has");
                let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
                live.status.not_reloaded = Some(error);
            }
        }
    }

    fn try_reload(&self, peers: &LivePeerTls) -> Result<Live, TlsError> {
        let unusable = |why: String| TlsError::Unusable { path: self.files.cert.clone(), why };
        let fresh = Self::load(&self.files)?.live.into_inner().unwrap_or_else(PoisonError::into_inner);
        let chain = tls::read_certificates(&self.files.cert)?;
        check_time(&chain).map_err(unusable)?;
        // The last step that can fail, before the first that changes anything.
        peers.replace(peer_tls(&self.files)?).map_err(|error| unusable(error.to_string()))?;
        Ok(fresh)
    }

    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads files on a thread where only the caller waits for it: they may lie on a file system that does not answer.
/// `None` when the process ends.
async fn elsewhere<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(read).await.ok()
}

async fn hung_up(hangup: &mut Option<Signal>) {
    let received = match hangup {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The TLS settings for the streams between nodes.
///
/// # Errors
/// If a file cannot be read or used.
pub fn peer_tls(files: &TlsFiles) -> Result<PeerTls, TlsError> {
    let Credentials { authorities, chain, key } = Credentials::read(files, Role::Node)?;
    Ok(PeerTls { ca: authorities, chain, key })
}

/// A digest of what the files hold. One that cannot be read counts as empty, which is a change like any other.
fn contents(files: &TlsFiles) -> Contents {
    let mut hasher = Sha256::new();
    for path in [&files.ca, &files.cert, &files.key] {
        let bytes = Zeroizing::new(pem::read(path).unwrap_or_default());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}

/// Checks the dates: a certificate that nobody would accept now is no better than the one in use.
fn check_time(chain: &[CertificateDer<'static>]) -> Result<(), String> {
    let now = i64::try_from(unix_ms() / 1_000).unwrap_or(i64::MAX);
    let Some(Ok((_, leaf))) = chain.first().map(|leaf| X509Certificate::from_der(leaf)) else {
        return Err("it is not an X.509 certificate".into());
    };
    let validity = leaf.validity();
    if now >= validity.not_after.timestamp() {
        return Err(format!("it ended at {}", validity.not_after));
    }
    if now < validity.not_before.timestamp() {
        return Err(format!("it begins at {} only", validity.not_before));
    }
    Ok(())
}

/// The metric that tells whether the files are in use.
#[derive(Debug)]
pub struct ReloadFailed(pub Arc<LiveTls>);

impl Collector for ReloadFailed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let failed = ConstGauge::new(i64::from(self.0.read().status.not_reloaded.is_some()));
        let help =
            "1 while the certificate files hold what this node cannot use, and it goes on with older ones";
        let encoder = encoder.encode_descriptor(
            "certificate_reload_failed",
            help,
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        failed.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_shared::certs::Authority;
    use signonce_shared::certs::Subject;
    use std::fs;

    #[test]
    fn what_is_in_the_files_counts_and_not_when_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca")).unwrap();
        let issue =
            |name: &str| authority.issue(&dir.path().join(name), &Subject::Client("a".into()), 10).unwrap();
        let (one, two) = (issue("one"), issue("two"));
        let ca = dir.path().join("ca/ca.pem");
        let files = TlsFiles { ca, cert: one.cert.clone(), key: one.key };
        let before = contents(&files);
        fs::write(&files.cert, fs::read(&files.cert).unwrap()).unwrap();
        assert_eq!(contents(&files), before);
        fs::remove_file(&files.cert).unwrap();
        assert_ne!(contents(&files), before);
        std::os::unix::fs::symlink(&two.cert, &files.cert).unwrap();
        assert_ne!(contents(&files), before);
        let live = LiveTls::load(&files);
        assert!(live.is_err(), "the key is not the certificate's");
    }

    #[test]
    fn a_certificate_is_for_now() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let issued = authority.issue(dir.path(), &Subject::Client("a".into()), 1).unwrap();
        let chain = tls::read_certificates(&issued.cert).unwrap();
        check_time(&chain).unwrap();
        let ended = authority.issue(dir.path(), &Subject::Client("b".into()), 0).unwrap();
        let why = check_time(&tls::read_certificates(&ended.cert).unwrap()).unwrap_err();
        assert!(why.starts_with("it ended at"), "{why}");
        let days = |ends: i64| (ends - i64::try_from(unix_ms() / 1_000).unwrap()) / 86_400;
        assert!(days(tls::first_end(&chain).unwrap()) <= 1);
    }
}
