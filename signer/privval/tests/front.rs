//! The front between a node and signers of this file, which answer as each test says.

use signonce_comet_node::{
    Address, AskError, BlockId, Config, Fault, FilePvKey, Lost, Node as TestNode, Time, VoteAsk,
};
use signonce_cometbft::{CONSENSUS, ChainSettings, ED25519, VOTE, genesis_of};
use signonce_privval::{Identity, Metrics, Node, Signers, Unsigned, serve};
use signonce_protocol::{
    KeyState, PublicKey, ToSign,
    rpc::{ErrorCode, KeyInfo, RpcError, SignParams, SignReply, SignVerdict},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const CHAIN: &str = "front-1";
const SEED: [u8; 32] = [7; 32];

/// What the signers do with the next request.
enum Then {
    Sign,
    Refuse(ErrorCode),
    RateLimit,
    NotNow,
    Never,
    /// Sign, but take a while.
    Slowly,
}

/// Signers that do as they are told, and sign where they are told nothing.
struct Made {
    next: Mutex<VecDeque<Then>>,
    asked: Mutex<Vec<SignParams>>,
    keys: watch::Sender<Option<Arc<Vec<KeyInfo>>>>,
    ready: watch::Sender<bool>,
}

impl Made {
    fn new(state: KeyState) -> Arc<Self> {
        signonce_cometbft::install();
        let keys = watch::Sender::new(Some(Arc::new(vec![key(state)])));
        let (next, asked) = (Mutex::default(), Mutex::default());
        Arc::new(Self { next, asked, keys, ready: watch::Sender::new(true) })
    }

    fn then(&self, then: impl IntoIterator<Item = Then>) {
        self.next.lock().unwrap().extend(then);
    }

    fn asked(&self) -> Vec<SignParams> {
        self.asked.lock().unwrap().clone()
    }

    fn arm(&self) {
        self.keys.send_replace(Some(Arc::new(vec![key(KeyState::Armed)])));
    }
}

fn key(state: KeyState) -> KeyInfo {
    let public = ed25519_dalek_2::SigningKey::from_bytes(&SEED).verifying_key();
    KeyInfo {
        chain: "front".into(),
        genesis: genesis_of(CHAIN),
        key_type: CONSENSUS,
        scheme: ED25519,
        public: PublicKey::try_from(public.as_bytes().as_slice()).unwrap(),
        state,
        group: None,
        classes: vec![VOTE],
        watermarks: Vec::new(),
    }
}

fn sign(params: &SignParams) -> SignReply {
    let chain = ChainSettings::new(CHAIN).chain("front");
    let payload = params.payload.decode(&chain).unwrap();
    let bytes = |message: ToSign<'_>| message.as_bytes().to_vec();
    let key = FilePvKey::ed25519(&SEED);
    SignReply {
        signature: key.sign(&bytes(payload.to_sign())).into(),
        beside: payload.beside().map(|beside| key.sign(&bytes(beside.to_sign())).into()),
        carry: None,
        verdict: SignVerdict::Granted,
        duty: payload.duty().cloned(),
        log_index: None,
        leader: None,
    }
}

impl Signers for Made {
    async fn sign(&self, params: &SignParams, within: Duration) -> Result<SignReply, Unsigned> {
        self.asked.lock().unwrap().push(params.clone());
        let next = self.next.lock().unwrap().pop_front().unwrap_or(Then::Sign);
        match next {
            Then::Sign => Ok(sign(params)),
            Then::Refuse(code) => Err(Unsigned::Refused(RpcError::new(code, "as the test says"))),
            Then::RateLimit => {
                let mut error = RpcError::new(ErrorCode::RateLimited, "too many");
                error.data.retry_after_ms = Some(1);
                Err(Unsigned::Refused(error))
            }
            Then::NotNow => {
                self.ready.send_replace(false);
                Err(Unsigned::NotNow("no leader".into()))
            }
            Then::Slowly => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(sign(params))
            }
            Then::Never => {
                tokio::time::sleep(within).await;
                Err(Unsigned::NotNow("no answer".into()))
            }
        }
    }

    fn keys(&self) -> watch::Receiver<Option<Arc<Vec<KeyInfo>>>> {
        self.keys.subscribe()
    }

    async fn ready(&self) {
        self.ready.subscribe().wait_for(|ready| *ready).await.unwrap();
    }
}

/// A node, a front that serves it, and the signers behind.
struct Scene {
    node: TestNode,
    signers: Arc<Made>,
    stop: CancellationToken,
    front: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone, Copy)]
enum Over {
    Unix,
    Tcp,
}

async fn scene(over: Over, state: KeyState) -> Scene {
    scene_of(CHAIN, over, state).await
}

async fn scene_of(chain: &str, over: Over, state: KeyState) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let address = match over {
        Over::Unix => Address::Unix(directory.path().join("privval.sock")),
        Over::Tcp => Address::any_port(),
    };
    let node = TestNode::listen(Config::new(chain, address)).await.unwrap();
    let signers = Made::new(state);
    let stop = CancellationToken::new();
    let served = Node { address: node.address().to_string().parse().unwrap(), chain: None, keys: Vec::new() };
    let (theirs, stopped) = (signers.clone(), stop.clone());
    let front = tokio::spawn(async move {
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        serve(served, theirs, Identity::made_up(), &metrics, stopped).await;
    });
    Scene { node, signers, stop, front, _directory: directory }
}

fn prevote(height: i64) -> VoteAsk {
    VoteAsk::prevote(height, 0, Some(BlockId::named("V")), Time::at(1_700_000_000))
}

fn precommit(height: i64) -> VoteAsk {
    VoteAsk::precommit(height, 0, Some(BlockId::named("V")), Time::at(1_700_000_000))
}

/// The number of the connection in front of each payload.
fn connections(signers: &Made) -> Vec<[u8; 8]> {
    signers.asked().iter().map(|asked| *asked.payload.bytes().first_chunk().unwrap()).collect()
}

#[tokio::test]
async fn a_node_gets_its_key_and_its_votes_over_either_transport() {
    for over in [Over::Unix, Over::Tcp] {
        let scene = scene(over, KeyState::Armed).await;
        let key = scene.node.start().await.unwrap();
        assert_eq!(key, self::key(KeyState::Armed).public.as_bytes());
        scene.node.vote(prevote(5)).await.unwrap();
        let with = precommit(5).with_extension(&[3; 20_000]);
        scene.node.vote(with).await.expect("an extension is signed and not sent back");
        assert_eq!(scene.node.connections().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_final_refusal_is_told_on_a_connection_that_stays_open() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    for code in [ErrorCode::Equivocation, ErrorCode::BelowWatermark, ErrorCode::Locked, ErrorCode::Forbidden]
    {
        scene.signers.then([Then::Refuse(code)]);
        let refused = scene.node.vote(prevote(5)).await;
        assert!(matches!(refused, Err(AskError::Lost(Lost::Refused { .. }))), "{code}: {refused:?}");
    }
    scene.node.vote(prevote(6)).await.unwrap();
    assert_eq!(scene.node.connections().await.unwrap(), 1);
}

#[tokio::test]
async fn while_no_signer_can_answer_the_front_stays_away_and_then_is_asked_the_very_same() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.signers.then([Then::NotNow]);
    let voting = scene.node.vote(prevote(5));
    let away = async {
        scene.signers.ready.subscribe().wait_for(|ready| !ready).await.unwrap();
        // Long enough for many of the node's tries, if the front closed and dialled in a loop.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(scene.signers.asked().len(), 1, "nobody asks signers that cannot answer");
        scene.signers.ready.send_replace(true);
    };
    let (voted, ()) = tokio::join!(voting, away);
    voted.expect("the vote was late and not lost");
    let asked = scene.signers.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].payload.bytes()[8..], asked[1].payload.bytes()[8..], "but for the connection");
}

#[tokio::test]
async fn a_request_without_an_answer_is_held_for_less_than_a_node_waits() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.signers.then([Then::Never]);
    scene.node.vote(prevote(5)).await.expect("asked again after the hold");
    assert_eq!(scene.signers.asked().len(), 2);
}

#[tokio::test]
async fn a_limit_is_waited_for_and_the_node_does_not_notice() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.signers.then([Then::RateLimit, Then::RateLimit, Then::Sign]);
    scene.node.vote(prevote(5)).await.unwrap();
    assert_eq!(scene.signers.asked().len(), 3);
    assert_eq!(scene.node.connections().await.unwrap(), 1);
}

#[tokio::test]
async fn a_node_of_a_key_that_is_not_armed_starts_and_waits_until_it_is() {
    let scene = scene(Over::Unix, KeyState::Registered).await;
    scene.node.start().await.expect("it gets the public key");
    scene.signers.then([Then::Refuse(ErrorCode::KeyNotArmed)]);
    let arming = async {
        while scene.signers.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scene.signers.arm();
    };
    let (voted, ()) = tokio::join!(scene.node.vote(prevote(5)), arming);
    voted.expect("signed once the key was armed");
}

#[tokio::test]
async fn signers_that_refuse_for_now_again_and_again_do_not_make_the_front_come_and_go_in_a_loop() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    // Ready, and not able: a list of keys that is behind, say.
    scene.signers.then((0..4).map(|_| Then::Refuse(ErrorCode::KeyNotArmed)));
    scene.node.vote(prevote(5)).await.expect("the node's tries were not used up");
    assert_eq!(scene.signers.asked().len(), 5);
}

#[tokio::test]
async fn a_node_of_another_chain_is_told_that_there_is_no_key() {
    let scene = scene_of("front-2", Over::Unix, KeyState::Armed).await;
    let exit = scene.node.start().await.expect_err("there is no key for it");
    assert!(exit.why.contains("no consensus key of chain \"front-2\""), "{exit}");
    assert!(scene.signers.asked().is_empty());
}

#[tokio::test]
async fn over_tcp_only_a_restart_of_the_node_makes_another_connection_of_it() {
    let scene = scene(Over::Tcp, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.node.vote(prevote(5)).await.unwrap();
    scene.node.misbehave(Fault::Close).await.unwrap();
    scene.node.vote(prevote(6)).await.unwrap();
    scene.node.kill().await;
    scene.node.restart().await.unwrap();
    scene.node.start().await.unwrap();
    scene.node.vote(prevote(7)).await.unwrap();
    let [first, again, restarted] = connections(&scene.signers)[..] else { panic!() };
    assert_eq!(first, again, "it has forgotten nothing");
    assert_ne!(first, restarted);
    assert!(first != [0; 8] && restarted != [0; 8]);
}

#[tokio::test]
async fn over_a_unix_socket_every_connection_is_another_one() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.node.vote(prevote(5)).await.unwrap();
    scene.node.misbehave(Fault::Close).await.unwrap();
    scene.node.vote(prevote(6)).await.unwrap();
    let [first, again] = connections(&scene.signers)[..] else { panic!() };
    assert_ne!(first, again);
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_the_front_comes_back() {
    for over in [Over::Unix, Over::Tcp] {
        for fault in [
            Fault::Message(vec![]),
            Fault::Message(vec![0x4a, 0]),
            Fault::Message(vec![0xff, 0xff, 0xff]),
            Fault::OversizeMessage(1 << 21),
            Fault::OversizeMessage(u64::MAX),
            Fault::HalfClose,
        ] {
            let scene = scene(over, KeyState::Armed).await;
            scene.node.start().await.unwrap();
            scene.node.misbehave(fault.clone()).await.unwrap();
            assert!(scene.node.signer_closes(Duration::from_secs(5)).await, "{fault:?}");
            scene.node.vote(prevote(5)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_flood_is_answered_one_by_one_and_a_node_that_only_pings_is_kept() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.node.misbehave(Fault::Pings(50)).await.unwrap();
    let request = vec![0x3a, 0];
    // Whoever reads no answers is left behind its own socket's buffer.
    let _ = scene.node.misbehave(Fault::Flood { request, times: 100_000 }).await;
    scene.node.misbehave(Fault::Close).await.unwrap();
    scene.node.vote(prevote(5)).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_front_after_the_answer_under_way() {
    let mut scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.signers.then([Then::Slowly]);
    let stopping = async {
        while scene.signers.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.stop.cancel();
    };
    let (voted, ()) = tokio::join!(scene.node.vote(prevote(5)), stopping);
    voted.expect("it was under way");
    (&mut scene.front).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_away_is_dialled_until_it_is_there() {
    let scene = scene(Over::Unix, KeyState::Armed).await;
    scene.node.start().await.unwrap();
    scene.node.kill().await;
    assert!(scene.node.restart().await.is_err(), "the socket file of the killed node is there");
    scene.node.remove_socket_file().unwrap();
    scene.node.restart().await.unwrap();
    scene.node.start().await.expect("served again");
}
