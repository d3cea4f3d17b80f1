//! `noise://`: a listener as CometBFT 0.40 has it, which both sides' peer ids must satisfy.

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p_core::upgrade::InboundConnectionUpgrade as _;
use libp2p_identity::{Keypair, PeerId};
use prost::Message as _;
use signonce_privval::{Identity, Metrics, Node, NodeAddress, Signers, Unsigned, serve};
use signonce_protocol::rpc::{KeyInfo, SignParams, SignReply};
use std::{future::pending, sync::Arc, time::Duration};
use tendermint_proto::v0_38::privval::{Message, PingRequest, message::Sum};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{compat::TokioAsyncReadCompatExt as _, sync::CancellationToken};

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

/// Signers without a key, which are asked for none.
struct Nobody(watch::Sender<Option<Arc<Vec<KeyInfo>>>>);

impl Signers for Nobody {
    async fn sign(&self, _: &SignParams, _: Duration) -> Result<SignReply, Unsigned> {
        panic!("nothing is signed here")
    }

    fn keys(&self) -> watch::Receiver<Option<Arc<Vec<KeyInfo>>>> {
        self.0.subscribe()
    }

    async fn ready(&self) {
        pending().await
    }
}

/// A front that dials a node at `listener` which is to have the peer id `named`.
fn dials(listener: &TcpListener, named: PeerId, identity: &Identity) -> CancellationToken {
    let stop = CancellationToken::new();
    let at = listener.local_addr().unwrap();
    let address: NodeAddress = format!("noise://{named}@{at}").parse().unwrap();
    let node = Node { address, chain: None, keys: Vec::new() };
    let (identity, stopped) = (identity.clone(), stop.clone());
    tokio::spawn(async move {
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let nobody = Arc::new(Nobody(watch::Sender::new(Some(Arc::default()))));
        serve(node, nobody, identity, &metrics, stopped).await;
    });
    stop
}

/// The next connection, after the handshake: who dialled, and the answer to a ping.
async fn pinged(listener: &TcpListener, key: &Keypair) -> (PeerId, Option<Message>) {
    let (stream, _) = listener.accept().await.unwrap();
    let noise = libp2p_noise::Config::new(key).unwrap();
    let (peer, mut stream) = noise.upgrade_inbound(stream.compat(), "/noise").await.unwrap();
    let ping = Message { sum: Some(Sum::PingRequest(PingRequest {})) };
    let sent = async {
        stream.write_all(&ping.encode_length_delimited_to_vec()).await?;
        stream.flush().await?;
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(10), sent).await.expect("it answers, or it leaves").ok();
    (peer, answer.map(|answer| Message::decode_length_delimited(&answer[..]).unwrap()))
}

#[tokio::test]
async fn the_node_sees_the_fronts_peer_id_and_is_answered() {
    let (key, identity) = (keypair(1), Identity::made_up());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = dials(&listener, key.public().to_peer_id(), &identity);
    let (peer, answer) = pinged(&listener, &key).await;
    assert_eq!(peer, identity.peer_id());
    assert!(matches!(answer.unwrap().sum, Some(Sum::PingResponse(_))));
    stop.cancel();
}

#[tokio::test]
async fn a_node_with_another_peer_id_is_not_answered() {
    let (named, other) = (keypair(1), keypair(2));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = dials(&listener, named.public().to_peer_id(), &Identity::made_up());
    let (_, answer) = pinged(&listener, &other).await;
    assert_eq!(answer, None);
    stop.cancel();
}
