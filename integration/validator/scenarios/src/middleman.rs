//! A signer that cannot be trusted: it has a certificate of the cluster's authority, hands requests on to the real
//! signers, and spoils what it answers.

use crate::{
    cluster::{ClientFiles, Cluster, client},
    ports,
};
use anyhow::Context as _;
use jsonrpsee::{
    Extensions, PendingSubscriptionSink,
    core::{SubscriptionResult, async_trait, to_json_raw_value},
    server::{Server, ServerHandle, serve_with_graceful_shutdown, stop_channel},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use signonce_protocol::{
    Hash, KeyType, PublicKey, Slot,
    client::{ClientError, SignerClient},
    rpc::{
        ChainRef, GenerateKeyParams, GenerateKeyReply, KeyInfo, LastSigned, PayloadParam, RpcError,
        SignParams, SignReply, SignerApiServer, StatusReply, rpc_module,
    },
};
use signonce_substrate::{EpochIndex, VrfParams, VrfReply, rpc::SubstrateApiServer};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// What is wrong with it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A bit of every signature and every proof is another.
    WrongSignatures,
    /// Every answer comes this late.
    Slow(Duration),
}

/// A served middleman. Ends when it goes out of scope.
pub struct Middleman {
    /// Where it is.
    pub url: String,
    spoiled: Arc<AtomicU64>,
    server: ServerHandle,
    accepting: JoinHandle<()>,
}

impl Middleman {
    /// Serves in front of the cluster, asking it as this client. `node` is a number no signer has.
    ///
    /// # Errors
    /// If it cannot get a certificate or a port.
    pub async fn start(
        cluster: &Cluster,
        files: &ClientFiles,
        node: u64,
        fault: Fault,
    ) -> anyhow::Result<Self> {
        let (certs, number) = (crate::cluster::text(&cluster.certs())?, node.to_string());
        let issue =
            ["certs", "issue", "node", "--id", &number, "--cluster", cluster.id(), "--host", "127.0.0.1"];
        cluster.command(&[&issue[..], &["--dir", &certs]].concat()).await?;
        let acceptor = TlsAcceptor::from(tls(&cluster.certs(), node)?);
        let address = ports::free_address()?;
        let listener = TcpListener::bind(address).await?;
        let spoiled = Arc::new(AtomicU64::new(0));
        let signer = Signer { behind: client(files, cluster.urls())?, fault, spoiled: spoiled.clone() };
        let (server, accepting) = serve(listener, acceptor, signer);
        Ok(Self { url: format!("https://{address}"), spoiled, server, accepting })
    }

    /// How many answers it spoiled.
    pub fn spoiled(&self) -> u64 {
        self.spoiled.load(Ordering::Relaxed)
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = self.server.stop();
    }
}

fn serve(listener: TcpListener, acceptor: TlsAcceptor, signer: Signer) -> (ServerHandle, JoinHandle<()>) {
    let (stop, server) = stop_channel();
    let mut module = rpc_module(signer.clone());
    module.merge(SubstrateApiServer::into_rpc(signer)).expect("no method is there twice");
    let builder = Server::builder().to_service_builder();
    let accepting = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, stop) = (acceptor.clone(), stop.clone());
            let service = builder.clone().build(module.clone(), stop.clone());
            tokio::spawn(async move {
                // A client that does not trust us hangs up.
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let _ = serve_with_graceful_shutdown(stream, service, stop.shutdown()).await;
            });
        }
    });
    (server, accepting)
}

fn tls(certs: &Path, node: u64) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let read = |name: &str| std::fs::read(certs.join(name)).with_context(|| format!("cannot read {name}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("ca.pem")?)?)?;
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()?;
    let chain = vec![CertificateDer::from_pem_slice(&read(&format!("node-{node}.pem"))?)?];
    let key = PrivateKeyDer::from_pem_slice(&read(&format!("node-{node}-key.pem"))?)?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[derive(Clone)]
struct Signer {
    behind: SignerClient,
    fault: Fault,
    spoiled: Arc<AtomicU64>,
}

impl Signer {
    /// Spoils an answer: a bit of `bytes`, or the time it comes.
    async fn spoil(&self, bytes: &mut [u8]) {
        self.spoiled.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::WrongSignatures => {
                if let Some(first) = bytes.first_mut() {
                    *first ^= 1;
                }
            }
            Fault::Slow(time) => tokio::time::sleep(time).await,
        }
    }

    async fn delay(&self) {
        if let Fault::Slow(time) = self.fault {
            tokio::time::sleep(time).await;
        }
    }
}

/// What the real signers said, as a signer says it.
fn said(error: ClientError) -> RpcError {
    match error {
        ClientError::Refused(error) => error,
        other => RpcError::not_ready(other.to_string(), None),
    }
}

#[async_trait]
impl SignerApiServer for Signer {
    async fn keys(&self, _: &Extensions) -> Result<Vec<KeyInfo>, RpcError> {
        self.delay().await;
        self.behind.keys().await.map_err(said)
    }

    async fn sign(
        &self,
        _: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        payload: PayloadParam,
        // The client behind shows what it was given itself.
        _: Option<LastSigned>,
    ) -> Result<SignReply, RpcError> {
        let params = SignParams { chain, key, payload: payload.read()? };
        let mut reply = self.behind.sign(&params).await.map_err(said)?;
        self.spoil(&mut reply.signature.0).await;
        Ok(reply)
    }

    async fn generate_key(
        &self,
        _: &Extensions,
        chain: ChainRef,
        key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError> {
        self.delay().await;
        self.behind.generate_key(&GenerateKeyParams { chain, key_type }).await.map_err(said)
    }

    async fn status(&self, _: &Extensions) -> Result<StatusReply, RpcError> {
        self.delay().await;
        self.behind.status().await.map_err(said)
    }

    async fn subscribe_keys(&self, pending: PendingSubscriptionSink, _: &Extensions) -> SubscriptionResult {
        let sink = pending.accept().await?;
        let mut stream = self.behind.subscribe_keys().await?;
        loop {
            let event = tokio::select! {
                event = stream.next() => event?,
                () = sink.closed() => return Ok(()),
            };
            sink.send(to_json_raw_value(&event)?).await?;
        }
    }
}

#[async_trait]
impl SubstrateApiServer for Signer {
    async fn vrf(
        &self,
        _: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        slot: Slot,
        epoch_index: EpochIndex,
        randomness: Hash,
    ) -> Result<VrfReply, RpcError> {
        let params = VrfParams { chain, key, slot, epoch_index, randomness };
        let mut reply = self.behind.ask(&params).await.map_err(said)?;
        self.spoil(&mut reply.proof.0).await;
        Ok(reply)
    }
}
