//! Requests to the signers: which payload a request of the node stands for, and how the cluster is called.
//!
//! A request comes as bytes under a key. The signers want the payload that the bytes are made from, with its kind, so
//! that they can read for themselves what it says. Where the node hands over a mere hash, [`NodeSide`] knows the
//! preimage; where it does not, nothing is asked.

use codec::{Compact, Decode};
use futures::future::BoxFuture;
use signonce_protocol::{
    ChainId, KeyId, KeyType, PublicKey, RawPayload, ToSign,
    client::{CertificateStatus, ClientError, KeysStream, SignerClient},
    rpc::{ChainRef, GenerateKeyParams, GenerateKeyReply, KeysEvent, Readiness, SignParams, SignReply},
};
use signonce_substrate::{
    AURA, AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE, Kind, PARA, VrfParams, VrfReply, VrfRequest,
};
use sp_core::sr25519::vrf::VrfSignData;
use std::time::Duration;

pub(crate) use crate::gate::VotePosition;

/// The name of VRF outputs among the intents.
pub(crate) const VRF_INTENT: &str = "babeVrf";
/// The name of key generation among the intents.
pub(crate) const GENERATE_INTENT: &str = "generateKey";

/// A future answer of the signers.
pub(crate) type Later<T> = BoxFuture<'static, Result<T, ClientError>>;

/// A signer cluster. [`Cluster`] in production.
pub(crate) trait Signers: Send + Sync + 'static {
    /// Has a payload signed.
    fn sign(&self, params: SignParams, deadline: Duration) -> Later<SignReply>;
    /// Has a VRF evaluated.
    fn vrf(&self, params: VrfParams, deadline: Duration) -> Later<VrfReply>;
    /// Has a key made to which this client has every right.
    fn generate(&self, params: GenerateKeyParams, deadline: Duration) -> Later<GenerateKeyReply>;
    /// Whether the preferred signer serves.
    fn ready(&self, deadline: Duration) -> Later<Readiness>;
    /// The events of this client's keys.
    fn subscribe(&self) -> Later<Box<dyn Events>>;
    /// Connects to every signer; returns how many there are, and those that cannot be reached with the reasons.
    fn connect(&self) -> BoxFuture<'static, (usize, Vec<(String, String)>)>;
    /// The preferred signer.
    fn preferred(&self) -> String;
    /// The certificates with which client and signers authenticate each other, if they come from files.
    fn certificates(&self) -> Option<CertificateStatus>;
}

/// Events of keys, from one signer after the other.
pub(crate) trait Events: Send {
    fn next(&mut self) -> BoxFuture<'_, Result<KeysEvent, ClientError>>;
}

/// The cluster behind the client of the protocol.
pub(crate) struct Cluster {
    pub(crate) client: SignerClient,
    pub(crate) urls: usize,
}

/// How long one attempt to subscribe may take.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(4);

impl Signers for Cluster {
    fn sign(&self, params: SignParams, deadline: Duration) -> Later<SignReply> {
        let client = self.client.with_deadline(deadline);
        Box::pin(async move { client.sign(&params).await })
    }

    fn vrf(&self, params: VrfParams, deadline: Duration) -> Later<VrfReply> {
        let client = self.client.with_deadline(deadline);
        Box::pin(async move { client.ask(&params).await })
    }

    fn generate(&self, params: GenerateKeyParams, deadline: Duration) -> Later<GenerateKeyReply> {
        let client = self.client.with_deadline(deadline);
        Box::pin(async move { client.generate_key(&params).await })
    }

    fn ready(&self, deadline: Duration) -> Later<Readiness> {
        let client = self.client.with_deadline(deadline);
        Box::pin(async move { client.status().await.map(|status| status.readiness) })
    }

    fn subscribe(&self) -> Later<Box<dyn Events>> {
        let client = self.client.with_deadline(SUBSCRIBE_WITHIN);
        Box::pin(
            async move { client.subscribe_keys().await.map(|stream| Box::new(stream) as Box<dyn Events>) },
        )
    }

    fn connect(&self) -> BoxFuture<'static, (usize, Vec<(String, String)>)> {
        let (client, urls) = (self.client.clone(), self.urls);
        Box::pin(async move { (urls, client.warm_up().await) })
    }

    fn preferred(&self) -> String {
        self.client.preferred_url().to_owned()
    }

    fn certificates(&self) -> Option<CertificateStatus> {
        self.client.certificates()
    }
}

impl Events for KeysStream {
    fn next(&mut self) -> BoxFuture<'_, Result<KeysEvent, ClientError>> {
        Box::pin(KeysStream::next(self))
    }
}

/// The node's side of the keystore: the recorded preimages, and the GRANDPA gate.
pub(crate) trait NodeSide: Send + Sync + 'static {
    /// The SCALE header with this hash, if the node proposed it a moment ago.
    fn header(&self, hash: &[u8; 32]) -> Option<Vec<u8>>;
    /// The SCALE commitment with this keccak hash.
    fn commitment(&self, keccak: &[u8; 32]) -> Option<Vec<u8>>;
    /// The slot and epoch of a VRF's transcript.
    fn vrf(&self, data: &VrfSignData) -> Option<VrfRequest>;
    /// Whether the voter may have this GRANDPA key now. Never blocks.
    fn may_vote(&self, key: &PublicKey) -> bool;
    /// How far a GRANDPA key has signed, anywhere.
    fn watermark(&self, key: &PublicKey, floor: Option<VotePosition>, highest: Option<VotePosition>);
    /// This node got a vote signed.
    fn voted(&self, key: &PublicKey, at: VotePosition);
    /// A vote of this node was denied: asking for it again ends the same way.
    fn vote_refused(&self, key: &PublicKey, at: VotePosition);
    /// A GRANDPA key is no longer one of this client's.
    fn key_gone(&self, key: &PublicKey);
}

/// Why no payload can be made from some bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    /// A hash whose preimage is not known.
    #[error("{0}")]
    NoPreimage(&'static str),
    /// Nothing that a key of this type signs.
    #[error(
        "{0} bytes that are not a message of this key type; the node and this crate are of different versions"
    )]
    NoPayload(usize),
}

/// The payload that a request stands for.
///
/// # Errors
/// A hash without a known preimage, and bytes that are nothing an honest node signs with such a key.
pub(crate) fn payload_for(
    key: &KeyId,
    to_sign: ToSign<'_>,
    node: &dyn NodeSide,
) -> Result<RawPayload, Unclear> {
    let bytes = match to_sign {
        ToSign::Prehashed(hash) if key.key_type == BEEFY => return commitment(&hash, node),
        ToSign::Prehashed(_) => return Err(Unclear::NoPayload(32)),
        ToSign::Message(bytes) => bytes,
    };
    // A known header takes precedence over anything its hash may look like.
    if matches!(key.key_type, BABE | AURA)
        && let Ok(hash) = <&[u8; 32]>::try_from(bytes)
        && let Some(header) = node.header(hash)
    {
        return Ok(RawPayload::new(header_kind(key.key_type).into(), header));
    }
    if bytes.starts_with(b"POP_") {
        return Ok(RawPayload::new(Kind::OwnershipProof.into(), bytes.to_vec()));
    }
    let kind = match key.key_type {
        BABE | AURA if bytes.len() == 32 => return Err(Unclear::NoPreimage(NO_HEADER)),
        GRANDPA if vote_place(bytes).is_some() => Kind::GrandpaVote,
        PARA => para_kind(bytes).ok_or(Unclear::NoPayload(bytes.len()))?,
        AUTHORITY_DISCOVERY => Kind::AuthorityRecord,
        IM_ONLINE => Kind::Heartbeat,
        // BABE, AURA, GRANDPA and BEEFY keys sign nothing else, and keys of other families are never this node's.
        _ => return Err(Unclear::NoPayload(bytes.len())),
    };
    Ok(RawPayload::new(kind.into(), bytes.to_vec()))
}

const NO_HEADER: &str = "this hash is of no block that this node proposed just now, so it is not signed; \
     the node must wrap its proposer with RemoteSigner::wrap_proposer";
const NO_COMMITMENT: &str = "this hash is of no BEEFY commitment that this node can have made, so it is not signed; \
     the node must wrap its payload provider with RemoteSigner::wrap_payload_provider";

fn commitment(hash: &[u8; 32], node: &dyn NodeSide) -> Result<RawPayload, Unclear> {
    let bytes = node.commitment(hash).ok_or(Unclear::NoPreimage(NO_COMMITMENT))?;
    Ok(RawPayload::new(Kind::BeefyCommitment.into(), bytes))
}

fn header_kind(key_type: KeyType) -> Kind {
    match key_type {
        AURA => Kind::AuraHeader,
        _ => Kind::BabeHeader,
    }
}

/// The set and round of a vote, if the bytes have a vote's shape. See [`signonce_substrate::payload::GrandpaVote`].
pub(crate) fn vote_place(bytes: &[u8]) -> Option<VotePosition> {
    if !matches!(bytes.len(), 53 | 57) || bytes[0] > 2 {
        return None;
    }
    let (rest, set_id) = bytes.split_last_chunk::<8>()?;
    let (_, round) = rest.split_last_chunk::<8>()?;
    Some(VotePosition { set_id: u64::from_le_bytes(*set_id), round: u64::from_le_bytes(*round) })
}

/// Looks for magic bytes first; only what has none can be a bitfield.
fn para_kind(bytes: &[u8]) -> Option<Kind> {
    let has = |magic: &str| bytes.starts_with(magic.as_bytes());
    let by_magic = Kind::ALL.into_iter().find(|kind| kind.magic().is_some_and(has));
    by_magic.or_else(|| is_bitfield(bytes).then_some(Kind::Bitfield))
}

/// `compact count ‖ bits ‖ session 4 ‖ relay parent 32`, by its length.
fn is_bitfield(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let Ok(Compact(bits)) = Compact::<u32>::decode(&mut rest) else { return false };
    rest.len() as u64 == u64::from(bits).div_ceil(8) + 36
}

/// How long a request of this kind may hold up its caller while signers serve; `None`: until it is answered.
///
/// A seal must fit into its slot. A GRANDPA vote that fails ends the voter of an SDK node, while one that waits only
/// delays finality.
pub(crate) const fn deadline(kind: Kind, votes: UnsignedVotes) -> Option<Duration> {
    match kind {
        Kind::BabeHeader | Kind::AuraHeader => Some(Duration::from_secs(1)),
        Kind::GrandpaVote => match votes {
            UnsignedVotes::EndTheVoter => None,
            UnsignedVotes::AreAskedForAgain => Some(Duration::from_secs(2)),
        },
        Kind::BeefyCommitment
        | Kind::Statement
        | Kind::Approval
        | Kind::Dispute
        | Kind::Bitfield
        | Kind::PvfCheck
        | Kind::AuthorityRecord
        | Kind::Heartbeat
        | Kind::OwnershipProof => Some(Duration::from_secs(2)),
    }
}

/// What happens to a GRANDPA vote for which the node's voter gets no signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsignedVotes {
    /// The voter ends, and most nodes end with it: this is the SDK's voter. A vote is waited for until it is answered
    /// or refused, inside the voter's lock, so no RPC may wait for that lock (`SharedVoterState::voter_state`).
    #[default]
    EndTheVoter,
    /// The voter lives and asks for the same vote again: this is the voter of `integration/polkadot`. A vote that is
    /// not answered is given up after two seconds, and at once while no signer serves.
    AreAskedForAgain,
}

/// How long a VRF may hold BABE up, which holds a lock of the block import meanwhile.
pub(crate) const VRF_WITHIN: Duration = Duration::from_millis(300);

/// The parameters of a signature for the key on this chain.
pub(crate) fn sign_params(chain: ChainId, key: &KeyId, payload: RawPayload) -> SignParams {
    SignParams { chain: ChainRef::Id(chain), key: key.public, payload }
}

/// The parameters of a VRF for the key on this chain.
pub(crate) fn vrf_params(chain: ChainId, key: &KeyId, request: VrfRequest) -> VrfParams {
    let VrfRequest { slot, epoch_index, randomness } = request;
    VrfParams { chain: ChainRef::Id(chain), key: key.public, slot, epoch_index, randomness }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeNode;
    use signonce_protocol::{Hash, blake2_256};
    use signonce_substrate::{
        ALL_KEY_TYPES, BlockNumber, CandidateHash, ChainFormat, GrandpaStage, Round, SessionIndex, SetId,
        payload::{Bitfield, Content, GrandpaVote, Heartbeat, OwnershipProof},
    };

    fn key(key_type: KeyType) -> KeyId {
        signonce_substrate::install();
        let len = key_type.schemes()[0].public_len();
        KeyId { key_type, public: PublicKey::try_from(vec![1; len].as_slice()).unwrap() }
    }

    fn ask(key_type: KeyType, bytes: &[u8], node: &FakeNode) -> Result<RawPayload, Unclear> {
        payload_for(&key(key_type), ToSign::Message(bytes), node)
    }

    #[test]
    fn a_hash_is_only_asked_for_with_what_is_behind_it() {
        let node = FakeNode::default();
        for key_type in [BABE, AURA] {
            assert!(matches!(ask(key_type, &[7; 32], &node), Err(Unclear::NoPreimage(_))));
        }
        let prehashed = |node: &FakeNode| payload_for(&key(BEEFY), ToSign::Prehashed([7; 32]), node);
        assert!(matches!(prehashed(&node), Err(Unclear::NoPreimage(_))));
        node.remember_header([7; 32], b"header".to_vec());
        node.remember_commitment([7; 32], b"commitment".to_vec());
        let payload = ask(BABE, &[7; 32], &node).unwrap();
        assert_eq!(payload, RawPayload::new(Kind::BabeHeader.into(), b"header".to_vec()));
        assert_eq!(ask(AURA, &[7; 32], &node).unwrap().kind(), Kind::AuraHeader.into());
        assert_eq!(
            prehashed(&node).unwrap(),
            RawPayload::new(Kind::BeefyCommitment.into(), b"commitment".to_vec())
        );
    }

    #[test]
    fn a_known_header_wins_over_a_hash_that_looks_like_a_proof() {
        let node = FakeNode::default();
        let hash = *b"POP_567890123456789012345678901_";
        assert_eq!(ask(BABE, &hash, &node).unwrap().kind(), Kind::OwnershipProof.into());
        node.remember_header(hash, b"header".to_vec());
        assert_eq!(ask(BABE, &hash, &node).unwrap().kind(), Kind::BabeHeader.into());
    }

    #[test]
    fn every_key_type_gives_proofs_of_ownership() {
        let node = FakeNode::default();
        for key_type in ALL_KEY_TYPES {
            for owner in [vec![], vec![9; 32]] {
                let bytes = Content::OwnershipProof(OwnershipProof { owner }).encode(&ChainFormat::default());
                assert_eq!(
                    ask(key_type, &bytes, &node).unwrap().kind(),
                    Kind::OwnershipProof.into(),
                    "{key_type}"
                );
            }
        }
    }

    #[test]
    fn votes_are_known_by_their_shape_and_carry_their_place() {
        let vote = GrandpaVote {
            stage: GrandpaStage::Precommit,
            target_hash: Hash([3; 32]),
            target: BlockNumber(5),
            round: Round(7),
            set_id: SetId(2),
        };
        let bytes = vote.encode(&ChainFormat::default());
        let node = FakeNode::default();
        assert_eq!(ask(GRANDPA, &bytes, &node).unwrap().kind(), Kind::GrandpaVote.into());
        assert_eq!(vote_place(&bytes), Some(VotePosition { set_id: 2, round: 7 }));
        assert_eq!(ask(GRANDPA, &bytes[1..], &node), Err(Unclear::NoPayload(52)));
        let mut unknown_stage = bytes;
        unknown_stage[0] = 3;
        assert_eq!(ask(GRANDPA, &unknown_stage, &node), Err(Unclear::NoPayload(53)));
    }

    #[test]
    fn para_payloads_are_known_by_magic_and_bitfields_by_length() {
        let node = FakeNode::default();
        for (magic, kind) in [
            (b"BKNG", Kind::Statement),
            (b"APPR", Kind::Approval),
            (b"DISP", Kind::Dispute),
            (b"VCPC", Kind::PvfCheck),
        ] {
            let bytes = [magic.as_slice(), CandidateHash([1; 32]).0.as_slice()].concat();
            assert_eq!(ask(PARA, &bytes, &node).unwrap().kind(), kind.into());
        }
        let bitfield = Content::Bitfield(Bitfield {
            bits: vec![true; 20],
            session: SessionIndex(1),
            parent: Hash([2; 32]),
        })
        .encode(&ChainFormat::default());
        assert_eq!(ask(PARA, &bitfield, &node).unwrap().kind(), Kind::Bitfield.into());
        assert_eq!(ask(PARA, &bitfield[..bitfield.len() - 1], &node), Err(Unclear::NoPayload(39)));
        assert_eq!(ask(PARA, &[], &node), Err(Unclear::NoPayload(0)));
    }

    #[test]
    fn the_rest_is_what_its_key_type_says() {
        let node = FakeNode::default();
        assert_eq!(ask(AUTHORITY_DISCOVERY, &[10, 0], &node).unwrap().kind(), Kind::AuthorityRecord.into());
        let heartbeat = Content::Heartbeat(Heartbeat {
            block: BlockNumber(1),
            session: SessionIndex(1),
            authority_index: 0,
            validators: 1,
        })
        .encode(&ChainFormat::default());
        assert_eq!(ask(IM_ONLINE, &heartbeat, &node).unwrap().kind(), Kind::Heartbeat.into());
        let hash = blake2_256(b"message");
        assert_eq!(ask(BEEFY, &hash, &node), Err(Unclear::NoPayload(32)));
        assert_eq!(payload_for(&key(BABE), ToSign::Prehashed(hash), &node), Err(Unclear::NoPayload(32)));
    }
}
