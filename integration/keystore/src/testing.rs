//! Stand-ins for unit tests: a signer cluster with real keys that behaves as told, and a node that knows what it is
//! told.

use crate::{
    ask::{Events, Later, NodeSide, Signers, UnsignedVotes, VotePosition},
    asker::Asker,
    cache::Keys,
    keystore::RemoteKeystore,
    metrics::Metrics,
    report::Report,
    start,
};
use codec::Encode;
use futures::future::BoxFuture;
use signonce_protocol::{
    Algorithm, ChainId, DutyClass, HexArray, KeyId, KeyState, KeyType, LogIndex, PublicKey, Scheme,
    blake2_256,
    client::{CertificateStatus, ClientError},
    rpc::{
        ErrorCode, GenerateKeyParams, GenerateKeyReply, KeyInfo, KeysEvent, Readiness, RpcError, SignParams,
        SignReply, SignVerdict,
    },
};
use signonce_substrate::{BEEFY, ECDSA, ED25519, GRANDPA, PARA, SR25519, VrfParams, VrfReply, VrfRequest};
use signonce_substrate::{Kind, keccak_256};
use sp_consensus_babe::make_vrf_transcript;
use sp_core::{Pair as _, crypto::VrfSecret as _, ecdsa, ed25519, sr25519, sr25519::vrf::VrfSignData};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub(crate) const GENESIS: ChainId = ChainId([1; 32]);

pub(crate) fn id(key_type: KeyType, public: impl AsRef<[u8]>) -> KeyId {
    signonce_substrate::install();
    KeyId { key_type, public: PublicKey::try_from(public.as_ref()).unwrap() }
}

/// An armed key of our chain with all rights.
pub(crate) fn info(key_type: KeyType, scheme: Scheme, public: impl AsRef<[u8]>) -> KeyInfo {
    signonce_substrate::install();
    KeyInfo {
        chain: "test".into(),
        genesis: GENESIS,
        key_type,
        scheme,
        public: PublicKey::try_from(public.as_ref()).unwrap(),
        state: KeyState::Armed,
        group: None,
        classes: key_type.classes().collect(),
        watermarks: Vec::new(),
    }
}

pub(crate) fn keys_with(node: Arc<dyn NodeSide>) -> Keys {
    signonce_substrate::install();
    Keys::new(GENESIS, node, Metrics::new(None).unwrap(), Arc::new(Report::default()))
}

/// A GRANDPA prevote as the node asks for it.
pub(crate) fn vote(set_id: u64, round: u64, target: [u8; 32]) -> Vec<u8> {
    (0u8, target, 7u32, round, set_id).encode()
}

/// What the gate heard of a key: floor and highest vote.
type Watermark = (PublicKey, Option<VotePosition>, Option<VotePosition>);

/// What the node knows.
#[derive(Default)]
pub(crate) struct FakeNode {
    headers: Mutex<HashMap<[u8; 32], Vec<u8>>>,
    commitments: Mutex<HashMap<[u8; 32], Vec<u8>>>,
    vrfs: Mutex<Vec<VrfRequest>>,
    open: Mutex<bool>,
    watermarks: Mutex<Vec<Watermark>>,
    votes: Mutex<Vec<(VotePosition, bool)>>,
    gone: Mutex<Vec<PublicKey>>,
}

impl FakeNode {
    pub(crate) fn remember_header(&self, hash: [u8; 32], header: Vec<u8>) {
        self.headers.lock().unwrap().insert(hash, header);
    }
    pub(crate) fn remember_commitment(&self, hash: [u8; 32], commitment: Vec<u8>) {
        self.commitments.lock().unwrap().insert(hash, commitment);
    }
    pub(crate) fn remember_slot(&self, request: VrfRequest) {
        self.vrfs.lock().unwrap().push(request);
    }
    pub(crate) fn open_gate(&self, open: bool) {
        *self.open.lock().unwrap() = open;
    }
    pub(crate) fn watermarks(&self) -> Vec<Watermark> {
        self.watermarks.lock().unwrap().clone()
    }
    /// GRANDPA keys that are gone, in the order the gate heard of it.
    pub(crate) fn gone(&self) -> Vec<PublicKey> {
        self.gone.lock().unwrap().clone()
    }
    /// Votes the gate heard of, with whether they were signed.
    pub(crate) fn votes(&self) -> Vec<(VotePosition, bool)> {
        self.votes.lock().unwrap().clone()
    }
}

/// The data BABE makes for a slot.
pub(crate) fn vrf_data(request: &VrfRequest) -> VrfSignData {
    let VrfRequest { slot, epoch_index, randomness } = request;
    make_vrf_transcript(&randomness.0, slot.0.into(), epoch_index.0).into_sign_data()
}

fn print(data: &VrfSignData) -> [u8; 32] {
    let mut print = [0; 32];
    data.as_ref().0.clone().challenge_bytes(b"print", &mut print);
    print
}

impl NodeSide for FakeNode {
    fn header(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.headers.lock().unwrap().get(hash).cloned()
    }
    fn commitment(&self, keccak: &[u8; 32]) -> Option<Vec<u8>> {
        self.commitments.lock().unwrap().get(keccak).cloned()
    }
    fn vrf(&self, data: &VrfSignData) -> Option<VrfRequest> {
        let known = self.vrfs.lock().unwrap();
        known.iter().find(|request| print(&vrf_data(request)) == print(data)).copied()
    }
    fn may_vote(&self, _: &PublicKey) -> bool {
        *self.open.lock().unwrap()
    }
    fn watermark(&self, key: &PublicKey, floor: Option<VotePosition>, highest: Option<VotePosition>) {
        self.watermarks.lock().unwrap().push((*key, floor, highest));
    }
    fn voted(&self, _: &PublicKey, at: VotePosition) {
        self.votes.lock().unwrap().push((at, true));
    }
    fn vote_refused(&self, _: &PublicKey, at: VotePosition) {
        self.votes.lock().unwrap().push((at, false));
    }
    fn key_gone(&self, key: &PublicKey) {
        self.gone.lock().unwrap().push(*key);
    }
}

/// What the signers do with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Sign.
    Good,
    /// Never answer.
    Silent,
    /// Be away: every request fails at once.
    Away,
    /// Refuse with this code.
    Refuse(ErrorCode),
    /// Sign something else.
    Wrong,
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a handful of them in a test")]
enum Secret {
    Sr25519(sr25519::Pair),
    Ed25519(ed25519::Pair),
    Ecdsa(ecdsa::Pair),
}

#[derive(Default)]
pub(crate) struct FakeSigners {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    secrets: BTreeMap<PublicKey, Secret>,
    infos: Vec<KeyInfo>,
    behaviour: Option<Behaviour>,
    /// What to do with the next requests, before `behaviour`.
    first: Vec<Behaviour>,
    calls: Vec<&'static str>,
}

impl FakeSigners {
    fn with(self, info: KeyInfo, secret: Secret) -> Self {
        let mut state = self.state.lock().unwrap();
        state.secrets.insert(info.public, secret);
        state.infos.push(info);
        drop(state);
        self
    }
    pub(crate) fn with_sr25519(self, key_type: KeyType, pair: &sr25519::Pair) -> Self {
        signonce_substrate::install();
        let info = info(key_type, SR25519, pair.public());
        self.with(info, Secret::Sr25519(pair.clone()))
    }
    pub(crate) fn with_grandpa(self, pair: &ed25519::Pair) -> Self {
        let info = info(GRANDPA, ED25519, pair.public());
        self.with(info, Secret::Ed25519(*pair))
    }
    pub(crate) fn with_beefy(self, pair: &ecdsa::Pair) -> Self {
        let info = info(BEEFY, ECDSA, pair.public());
        self.with(info, Secret::Ecdsa(pair.clone()))
    }
    /// Takes a right to the last key away.
    pub(crate) fn without(self, class: DutyClass) -> Self {
        self.state.lock().unwrap().infos.last_mut().unwrap().classes.retain(|it| *it != class);
        self
    }
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = Some(behaviour);
    }
    /// What to do with the next requests, one each; then as told by `behave`.
    pub(crate) fn first(&self, behaviours: &[Behaviour]) {
        self.state.lock().unwrap().first = behaviours.iter().rev().copied().collect();
    }
    /// Requests that came, by what they asked for.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }
    pub(crate) fn wait_until_asked(&self) {
        let state = self.state.lock().unwrap();
        drop(self.asked.wait_while(state, |state| state.calls.is_empty()).unwrap());
    }

    /// Counts the request and answers with `good`, or as told.
    fn answer<T: Send + 'static>(
        &self,
        intent: &'static str,
        good: impl FnOnce(&mut State, bool) -> T,
    ) -> Later<T> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(intent);
        self.asked.notify_all();
        let behaviour = state.first.pop().or(state.behaviour).unwrap_or(Behaviour::Good);
        let result = match behaviour {
            Behaviour::Good => Ok(good(&mut state, false)),
            Behaviour::Wrong => Ok(good(&mut state, true)),
            Behaviour::Silent => return Box::pin(std::future::pending()),
            Behaviour::Away => Err(away()),
            Behaviour::Refuse(code) => Err(ClientError::Refused(RpcError::new(code, "told to"))),
        };
        Box::pin(async { result })
    }
}

fn away() -> ClientError {
    ClientError::NotReady { after: Duration::from_secs(1), url: "https://fake".into(), why: "told to".into() }
}

impl Signers for FakeSigners {
    fn sign(&self, params: SignParams, _: Duration) -> Later<SignReply> {
        let kind = Kind::try_from(params.payload.kind()).expect("a payload of Substrate");
        let bytes = params.payload.bytes().to_vec();
        self.answer(kind.name(), move |state, wrong| {
            let mut message = match kind {
                Kind::BabeHeader | Kind::AuraHeader => blake2_256(&bytes).to_vec(),
                Kind::BeefyCommitment => keccak_256(&bytes).to_vec(),
                _ => bytes,
            };
            if wrong {
                message[0] ^= 1;
            }
            let signature: Vec<u8> = match (&state.secrets[&params.key], kind) {
                (Secret::Sr25519(pair), _) => pair.sign(&message).0.to_vec(),
                (Secret::Ed25519(pair), _) => pair.sign(&message).0.to_vec(),
                (Secret::Ecdsa(pair), Kind::BeefyCommitment) => {
                    pair.sign_prehashed(&message.try_into().unwrap()).0.to_vec()
                }
                (Secret::Ecdsa(pair), _) => pair.sign(&message).0.to_vec(),
            };
            SignReply {
                signature: signature.into(),
                beside: None,
                carry: None,
                verdict: SignVerdict::Granted,
                duty: None,
                log_index: None,
                leader: None,
            }
        })
    }

    fn vrf(&self, params: VrfParams, _: Duration) -> Later<VrfReply> {
        self.answer(crate::ask::VRF_INTENT, move |state, wrong| {
            let Secret::Sr25519(pair) = &state.secrets[&params.key] else { panic!("no sr25519 key") };
            let mut request = params.request();
            if wrong {
                request.slot = request.slot.saturating_add(1);
            }
            let bytes = pair.vrf_sign(&vrf_data(&request)).encode();
            let (pre_output, proof) = bytes.split_at(32);
            VrfReply {
                pre_output: HexArray(pre_output.try_into().unwrap()),
                proof: HexArray(proof.try_into().unwrap()),
            }
        })
    }

    fn generate(&self, params: GenerateKeyParams, _: Duration) -> Later<GenerateKeyReply> {
        let GenerateKeyParams { chain: _, key_type } = params;
        self.answer(crate::ask::GENERATE_INTENT, move |state, wrong| {
            let secret = match key_type.schemes()[0].algorithm() {
                Algorithm::Sr25519 => Secret::Sr25519(sr25519::Pair::generate().0),
                Algorithm::Ed25519 => Secret::Ed25519(ed25519::Pair::generate().0),
                Algorithm::Secp256k1Recoverable => Secret::Ecdsa(ecdsa::Pair::generate().0),
                Algorithm::Secp256k1Compact => unreachable!("no scheme of Substrate's"),
            };
            let public = match &secret {
                Secret::Sr25519(pair) => PublicKey::try_from(pair.public().as_ref()),
                Secret::Ed25519(pair) => PublicKey::try_from(pair.public().as_ref()),
                Secret::Ecdsa(pair) => PublicKey::try_from(pair.public().as_ref()),
            };
            let public = public.unwrap();
            state.secrets.insert(public, secret);
            let key_type = if wrong { PARA } else { key_type };
            GenerateKeyReply { public, key_type, scheme: key_type.schemes()[0] }
        })
    }

    fn ready(&self, _: Duration) -> Later<Readiness> {
        let behaviour = self.state.lock().unwrap().behaviour;
        Box::pin(async move {
            match behaviour {
                Some(Behaviour::Away) => Err(away()),
                _ => Ok(Readiness { ready: true, reasons: Vec::new() }),
            }
        })
    }

    fn subscribe(&self) -> Later<Box<dyn Events>> {
        let state = self.state.lock().unwrap();
        if state.behaviour == Some(Behaviour::Away) {
            return Box::pin(async { Err(away()) });
        }
        let keys = state.infos.clone();
        drop(state);
        let events: Box<dyn Events> = Box::new(OneList(Some(keys)));
        Box::pin(async { Ok(events) })
    }

    fn connect(&self) -> BoxFuture<'static, (usize, Vec<(String, String)>)> {
        let away = self.state.lock().unwrap().behaviour == Some(Behaviour::Away);
        let failed = away.then(|| ("https://fake".to_owned(), "told to".to_owned()));
        Box::pin(async move { (1, failed.into_iter().collect()) })
    }

    fn preferred(&self) -> String {
        "https://fake".into()
    }

    fn certificates(&self) -> Option<CertificateStatus> {
        None
    }
}

/// The list, and then nothing.
struct OneList(Option<Vec<KeyInfo>>);

impl Events for OneList {
    fn next(&mut self) -> BoxFuture<'_, Result<KeysEvent, ClientError>> {
        match self.0.take() {
            Some(keys) => Box::pin(async { Ok(KeysEvent::All { applied: LogIndex(1), keys }) }),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A keystore between a fake node and fake signers.
pub(crate) struct Bed {
    pub(crate) signers: Arc<FakeSigners>,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) asker: Arc<Asker>,
    pub(crate) keystore: RemoteKeystore,
}

impl Bed {
    /// With the keys of `signers` listed.
    pub(crate) fn new(signers: FakeSigners) -> Self {
        Self::with(signers, UnsignedVotes::EndTheVoter)
    }

    /// The same for a voter that asks again for votes that were not answered.
    pub(crate) fn whose_voter_asks_again(signers: FakeSigners) -> Self {
        Self::with(signers, UnsignedVotes::AreAskedForAgain)
    }

    fn with(signers: FakeSigners, votes: UnsignedVotes) -> Self {
        let (signers, node) = (Arc::new(signers), Arc::new(FakeNode::default()));
        let asker = asker(signers.clone(), node.clone(), votes);
        assert!(asker.keys.wait_for_list(Duration::from_secs(60)), "the list did not come");
        Self {
            signers,
            node,
            keystore: RemoteKeystore::new(asker.clone(), crate::keystore::AskedBy::Consensus),
            asker,
        }
    }
}

/// What asks `signers` on behalf of `node`.
pub(crate) fn asker(signers: Arc<FakeSigners>, node: Arc<dyn NodeSide>, votes: UnsignedVotes) -> Arc<Asker> {
    let (metrics, report) = (Metrics::new(None).unwrap(), Arc::new(Report::default()));
    let parts = start::AskerParts { signers, chain: GENESIS, node, metrics, report, votes, file: None };
    Arc::new(start::asker(parts).unwrap())
}

/// A directory of its own, gone with it.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("signonce-keystore-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A list that is being written when its keystore goes is written to its end.
        while let Err(error) = std::fs::remove_dir_all(&self.0) {
            assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
        }
    }
}
