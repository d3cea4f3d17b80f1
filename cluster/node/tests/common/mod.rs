//! Three nodes in one process, on loopback, with certificates of a throwaway authority.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use signonce_cluster::identity::{self, Identity};
use signonce_cluster::{Handle, Node, NodeConfig, Peer, PeerTls, StartError};
use signonce_core::replica::ReplicaStatus;
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_core::{Change, Claim, ClientId, Floors};
use signonce_protocol::{Carry, ChainId, Digest, KeyId, NodeId, Position, PublicKey};
use signonce_substrate::{
    BlockNumber, ChainFormat, ChainSettings, Duty, ED25519, GRANDPA, GRANDPA_VOTE, GrandpaStage, Limits,
    Round, SetId,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const CLUSTER: ClusterId = ClusterId([7; 16]);

pub struct TestCluster {
    pub dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub peers: Vec<Peer>,
    pub nodes: BTreeMap<u64, Node>,
    pub log_bytes_max: usize,
}

impl TestCluster {
    /// Data directories for three nodes; none is started.
    pub fn new() -> Self {
        signonce_substrate::install();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let peers = (1..=3)
            .map(|id| {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                Peer { id: NodeId(id), address: format!("127.0.0.1:{port}") }
            })
            .collect();
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            issuer,
            peers,
            nodes: BTreeMap::new(),
            log_bytes_max: 8 << 20,
        };
        (1..=3).for_each(|id| cluster.init(id));
        cluster
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    pub fn init(&self, id: u64) {
        let initial = (1..=3).map(NodeId).collect();
        let identity = Identity { cluster: CLUSTER, node: NodeId(id), initial, joined: false };
        identity::create(&self.data_dir(id), &identity).unwrap();
    }

    fn tls(&self, id: u64) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![node_name(&CLUSTER, NodeId(id))]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        PeerTls {
            ca: vec![self.issuer.der().clone()],
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    pub async fn try_start(&self, id: u64) -> Result<Node, StartError> {
        let own = self.peers.iter().find(|peer| peer.id == NodeId(id)).unwrap();
        Node::start(NodeConfig {
            data_dir: self.data_dir(id),
            // The operators of the first three never heard of those that came later.
            peers: if id <= 3 { self.peers[..3].to_vec() } else { self.peers.clone() },
            listen: own.address.parse().unwrap(),
            tls: self.tls(id),
            tick: Duration::from_millis(30),
            log_bytes_max: self.log_bytes_max,
            slot_tolerance: 3,
        })
        .await
    }

    pub async fn start(&mut self, id: u64) {
        let node = self.try_start(id).await.unwrap();
        self.nodes.insert(id, node);
    }

    pub async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().await;
    }

    pub fn handle(&self, id: u64) -> Handle {
        self.nodes[&id].handle()
    }

    /// Waits until `id` says `what` of itself.
    pub async fn wait(&self, id: u64, what: impl FnMut(&ReplicaStatus) -> bool) {
        let mut status = self.handle(id).status_watch();
        let said = tokio::time::timeout(PATIENCE, status.wait_for(what)).await;
        assert!(said.is_ok(), "node {id} is {:?}", self.handle(id).status());
    }

    pub async fn wait_ready(&self, ids: &[u64]) {
        for id in ids {
            self.wait(*id, |s| s.not_member.is_none() && s.leader.is_some()).await;
        }
    }

    pub async fn started() -> Self {
        let mut cluster = Self::new();
        for id in 1..=3 {
            cluster.start(id).await;
        }
        cluster.wait_ready(&[1, 2, 3]).await;
        cluster
    }

    pub fn leader(&self) -> u64 {
        self.nodes.values().find_map(|n| n.handle().status().leader).unwrap().0
    }

    /// Waits until `id` has applied as much as any node has.
    pub async fn caught_up(&self, id: u64) {
        let target = self.nodes.values().map(|n| n.handle().status().applied).max().unwrap();
        let mut applied = self.handle(id).applied_watch();
        let reached = tokio::time::timeout(PATIENCE, applied.wait_for(|a| *a >= target)).await;
        assert!(reached.is_ok(), "node {id} has not caught up: {:?}", self.handle(id).status());
    }
}

pub fn grandpa_key() -> KeyId {
    KeyId { key_type: GRANDPA, public: PublicKey::try_from(&[5; 32][..]).unwrap() }
}

pub fn vote(round: u64, target: u8) -> Claim {
    Claim {
        key: grandpa_key(),
        client: ClientId(1),
        duty: Duty::GrandpaVote {
            set_id: SetId(0),
            round: Round(round),
            stage: GrandpaStage::Prevote,
            target: BlockNumber(100),
        }
        .to_any(),
        digest: Digest([target; 32]),
        carry: Carry::default(),
        time_ms: 0,
    }
}

/// A chain and one armed GRANDPA key.
pub async fn provision(handle: &Handle) {
    let genesis = ChainId([3; 32]);
    let (format, limits) = (ChainFormat::default(), Limits::default());
    let chain = ChainSettings { format, slot_duration_ms: 6000, limits }.chain(genesis, "test");
    let id = grandpa_key();
    let register = Change::RegisterKey {
        id,
        scheme: ED25519,
        chain: genesis,
        group: None,
        sealed: signonce_core::Envelope::from(vec![1; 64]),
    };
    let floors = Floors::from(Position::new(GRANDPA_VOTE, &[0, 1]).unwrap());
    for change in [Change::AddChain(chain), register, Change::ArmKey { id, floors }] {
        handle.change("test".into(), change, PATIENCE).await.unwrap().unwrap();
    }
}
