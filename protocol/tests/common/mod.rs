//! A signer that answers what a test told it to, behind real mutual TLS.
#![allow(dead_code, reason = "each test file uses its part")]

use jsonrpsee::{
    Extensions, PendingSubscriptionSink, RpcModule,
    core::{SubscriptionResult, async_trait},
    server::{HttpRequest, Server, ServerHandle, serve_with_graceful_shutdown, stop_channel},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use signonce_protocol::{
    client::{ClientConfig, SignerClient, Timeouts, TlsSource, tls_from_pem},
    rpc::*,
    *,
};
use signonce_substrate::{BABE, BABE_BLOCK, EpochIndex, SR25519, VrfReply, rpc::SubstrateApiServer};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;

/// The certificate a client showed, as the server puts it into the extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate(pub Vec<u8>);

/// One request as the fake signer got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub chain: ChainRef,
    pub key: PublicKey,
    pub what: String,
    pub certificate: Option<ShownCertificate>,
}

#[derive(Default)]
pub struct Script {
    /// Answers in order; the last one is given for ever.
    pub answers: VecDeque<Result<SignReply, RpcError>>,
    pub asked: Vec<Asked>,
    pub subscribers: usize,
    /// What each sign request showed.
    pub shown: Vec<Option<LastSigned>>,
}

#[derive(Clone)]
pub struct FakeSigner {
    pub node: NodeId,
    pub script: Arc<Mutex<Script>>,
}

impl FakeSigner {
    pub fn new(node: u64, answers: impl IntoIterator<Item = Result<SignReply, RpcError>>) -> Self {
        signonce_substrate::install();
        let script = Script { answers: answers.into_iter().collect(), ..Script::default() };
        Self { node: NodeId(node), script: Arc::new(Mutex::new(script)) }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    fn note(&self, ext: &Extensions, chain: ChainRef, key: PublicKey, what: String) {
        let certificate = ext.get::<ShownCertificate>().cloned();
        self.script.lock().unwrap().asked.push(Asked { chain, key, what, certificate });
    }

    pub fn key(&self) -> KeyInfo {
        KeyInfo {
            chain: "polkadot".into(),
            genesis: ChainId([1; 32]),
            key_type: BABE,
            scheme: SR25519,
            public: public(1),
            state: KeyState::Armed,
            group: Some(format!("seen by {}", self.node)),
            classes: vec![BABE_BLOCK],
            watermarks: vec![WatermarkInfo {
                class: BABE_BLOCK,
                floor: Position::new(BABE_BLOCK, &[7]),
                highest: None,
            }],
        }
    }
}

#[async_trait]
impl SignerApiServer for FakeSigner {
    async fn keys(&self, _: &Extensions) -> Result<Vec<KeyInfo>, RpcError> {
        Ok(vec![self.key()])
    }

    async fn sign(
        &self,
        ext: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        payload: PayloadParam,
        last_signed: Option<LastSigned>,
    ) -> Result<SignReply, RpcError> {
        let payload = payload.read()?;
        self.note(ext, chain, key, format!("{payload:?}"));
        let mut script = self.script.lock().unwrap();
        script.shown.push(last_signed);
        match script.answers.len() {
            0 => Err(RpcError::new(ErrorCode::Internal, "the test gave no answer")),
            1 => script.answers[0].clone(),
            _ => script.answers.pop_front().unwrap(),
        }
    }

    async fn generate_key(
        &self,
        ext: &Extensions,
        chain: ChainRef,
        key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError> {
        let key = public(9);
        self.note(ext, chain, key, format!("make {key_type}"));
        let mut script = self.script.lock().unwrap();
        match script.answers.pop_front() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => {
                Ok(GenerateKeyReply { public: key, key_type, scheme: key_type.schemes()[0] })
            }
        }
    }

    async fn status(&self, _: &Extensions) -> Result<StatusReply, RpcError> {
        Ok(StatusReply {
            node: self.node,
            cluster: "test".into(),
            leader: None,
            leader_url: None,
            term: Term(3),
            applied: LogIndex(9),
            committed: LogIndex(9),
            readiness: Readiness { ready: false, reasons: vec!["no quorum".into()] },
            version: "0".into(),
        })
    }

    async fn subscribe_keys(&self, pending: PendingSubscriptionSink, _: &Extensions) -> SubscriptionResult {
        let sink = pending.accept().await?;
        self.script.lock().unwrap().subscribers += 1;
        let event = KeysEvent::All { applied: LogIndex(self.node.0), keys: vec![self.key()] };
        sink.send(jsonrpsee::core::to_json_raw_value(&event)?).await?;
        sink.closed().await;
        Ok(())
    }
}

#[async_trait]
impl SubstrateApiServer for FakeSigner {
    async fn vrf(
        &self,
        ext: &Extensions,
        chain: ChainRef,
        key: PublicKey,
        slot: Slot,
        epoch_index: EpochIndex,
        randomness: Hash,
    ) -> Result<VrfReply, RpcError> {
        self.note(ext, chain, key, format!("{slot} {epoch_index} {randomness}"));
        Ok(VrfReply { pre_output: [2; 32].into(), proof: [3; 64].into() })
    }
}

/// Everything that a signer serves.
pub fn served(signer: FakeSigner) -> RpcModule<FakeSigner> {
    let mut module = rpc_module(signer.clone());
    module.merge(SubstrateApiServer::into_rpc(signer)).expect("no method is there twice");
    module
}

pub fn public(n: u8) -> PublicKey {
    PublicKey::try_from([n; 32].as_slice()).unwrap()
}

pub fn babe_block(slot: u64) -> Duty {
    signonce_substrate::install();
    signonce_substrate::Duty::BabeBlock { slot: Slot(slot) }.into()
}

pub fn granted(n: u8) -> SignReply {
    SignReply {
        signature: vec![n; 64].into(),
        verdict: SignVerdict::Granted,
        beside: None,
        carry: None,
        duty: Some(babe_block(5)),
        log_index: Some(LogIndex(4)),
        leader: None,
    }
}

/// A certificate authority, as of one cluster.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 4096)
    }

    /// One that nobody takes any more.
    pub fn issue_ended(&self, name: &str) -> Identity {
        self.issue_until(name, 2020)
    }

    fn issue_until(&self, name: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn client_tls(&self, identity: &Identity) -> TlsSource {
        let tls = tls_from_pem(self.pem().as_bytes(), identity.cert.as_bytes(), identity.key.as_bytes());
        TlsSource::Config(Arc::new(tls.unwrap()))
    }

    fn server_tls(&self, identity: &Identity) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .unwrap();
        let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    /// Serves `signer` on a free port of the loopback under `name`.
    pub async fn serve(&self, signer: &FakeSigner, name: &str) -> Served {
        self.serve_at(0, signer, name).await
    }

    /// The same on this port, on which one was served before.
    pub async fn serve_at(&self, port: u16, signer: &FakeSigner, name: &str) -> Served {
        let listener = listen(port).await;
        let port = listener.local_addr().unwrap().port();
        let acceptor = tokio_rustls::TlsAcceptor::from(self.server_tls(&self.issue(name)));
        let (stop, handle) = stop_channel();
        let module = served(signer.clone());
        let builder = Server::builder().to_service_builder();
        let accepting = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, builder, module, stop) =
                    (acceptor.clone(), builder.clone(), module.clone(), stop.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let shown = ShownCertificate(shown.expect("required").to_vec());
                    let inner = builder.build(module, stop.clone());
                    let service = tower::service_fn(move |mut request: HttpRequest<_>| {
                        request.extensions_mut().insert(shown.clone());
                        let mut inner = inner.clone();
                        // With a boxed error the compiler cannot prove the whole future Send (rust-lang/rust#102211).
                        async move {
                            tower::Service::call(&mut inner, request).await.map_err(std::io::Error::other)
                        }
                    });
                    let _ = serve_with_graceful_shutdown(tls, service, stop.shutdown()).await;
                });
            }
        });
        Served { url: format!("https://{name}:{port}"), port, handle, accepting }
    }
}

/// On a port that its last owner may be about to give up.
async fn listen(port: u16) -> TcpListener {
    let began = std::time::Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A served signer; stops when told to.
pub struct Served {
    pub url: String,
    pub port: u16,
    handle: ServerHandle,
    accepting: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Closes the port and every connection, and waits until nothing is answered any more.
    pub async fn kill(&self) {
        self.accepting.abort();
        self.handle.stop().unwrap();
        self.handle.clone().stopped().await;
    }
}

pub fn client(urls: impl IntoIterator<Item = String>, tls: TlsSource, deadline_ms: u64) -> SignerClient {
    let timeouts = Timeouts { deadline: Duration::from_millis(deadline_ms), ..Timeouts::default() };
    SignerClient::new(ClientConfig { urls: urls.into_iter().collect(), tls, timeouts }).unwrap()
}
