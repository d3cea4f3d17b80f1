//! What validators and operators send: payloads, JSON-RPC bodies, changes.

use crate::world::World;
use jsonrpsee::{
    Extensions, PendingSubscriptionSink, RpcModule,
    core::{SubscriptionResult, async_trait},
};
use signonce_core::{Change, Command};
use signonce_protocol::{ChainId, Hash, HexArray, KeyType, NodeId, PublicKey, Slot, rpc::*};
use signonce_substrate::{
    AuraMode, ChainFormat, EpochIndex, Kind, NumberWidth, Payload, VrfReply, possible_kinds,
    rpc::SubstrateApiServer,
};
use std::cell::RefCell;

/// A payload: the first byte is its kind, the second the chain's format, the rest the bytes to sign.
///
/// What is accepted is the one encoding of what it says, and no other kind's signature covers the same bytes.
pub fn payload(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Some((&[kind, format], bytes)) = data.split_first_chunk() else { return false };
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let format = format_of(format);
    let Ok(payload) = Payload::decode(kind, bytes, &format) else { return false };
    assert_eq!(payload.content().encode(&format), bytes, "one payload, one encoding");
    assert!(possible_kinds(bytes, &format).contains(&kind));
    for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
        if let Ok(also) = Payload::decode(other, bytes, &format) {
            assert_ne!(also.to_sign(), payload.to_sign(), "{kind:?} and {other:?} sign the same");
        }
    }
    true
}

fn format_of(bits: u8) -> ChainFormat {
    ChainFormat {
        number_width: if bits & 1 == 0 { NumberWidth::U32 } else { NumberWidth::U64 },
        aura_mode: if bits & 2 == 0 { AuraMode::Slot } else { AuraMode::Collator },
    }
}

/// A change as an operator's tools send it. It must survive JSON, the log, and being applied.
pub fn change(data: &[u8]) -> bool {
    signonce_shared::families::install();
    let Ok(change) = serde_json::from_slice::<Change>(data) else { return false };
    let json = serde_json::to_vec(&change).expect("a change is JSON");
    let again: Change =
        serde_json::from_slice(&json).expect("a change that was read can be written and read");
    assert_eq!(again, change);
    let command = World::command(change);
    assert_eq!(Command::from_bytes(&command.to_bytes()).expect("a change fits the log"), command);
    World::new().apply(command);
    true
}

/// The body of a client's request, answered by a signer that reads every parameter and signs nothing.
pub fn rpc(data: &[u8]) -> bool {
    signonce_shared::families::install();
    thread_local! {
        static SERVER: RefCell<(tokio::runtime::Runtime, RpcModule<Echo>)> = RefCell::new((
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
            methods(),
        ));
    }
    let Ok(body) = std::str::from_utf8(data) else { return false };
    SERVER.with_borrow(|(runtime, module)| {
        let Ok((answer, _events)) = runtime.block_on(module.raw_json_request(body, 4)) else { return false };
        let answer: serde_json::Value = serde_json::from_str(answer.get()).expect("an answer is JSON");
        answer.get("result").is_some()
    })
}

/// All methods of a signer.
fn methods() -> RpcModule<Echo> {
    let mut module = rpc_module(Echo);
    module.merge(SubstrateApiServer::into_rpc(Echo)).expect("no method is there twice");
    module
}

/// A signer that answers with what it read.
struct Echo;

impl Echo {
    fn key(key_type: KeyType) -> PublicKey {
        let bytes = vec![1; key_type.schemes()[0].public_len()];
        PublicKey::try_from(&bytes[..]).expect("it has the scheme's length")
    }
}

#[async_trait]
impl SignerApiServer for Echo {
    async fn keys(&self, _: &Extensions) -> Result<Vec<KeyInfo>, RpcError> {
        Ok(Vec::new())
    }

    async fn sign(
        &self,
        _: &Extensions,
        chain: ChainRef,
        _key: PublicKey,
        payload: PayloadParam,
        last_signed: Option<LastSigned>,
    ) -> Result<SignReply, RpcError> {
        assert_eq!(chain.to_string().parse(), Ok(chain), "a chain's name is read as it is written");
        let json = serde_json::to_value(&last_signed).expect("it is JSON");
        assert_eq!(serde_json::from_value::<Option<LastSigned>>(json).expect("it was read"), last_signed);
        let raw = payload.read()?;
        let read = raw.decode(&crate::world::chain(0));
        let payload = read.map_err(|e| RpcError::new(ErrorCode::MalformedPayload, e.to_string()))?;
        Ok(SignReply {
            signature: vec![0; 64].into(),
            beside: payload.beside().map(|_| vec![0; 64].into()),
            carry: None,
            verdict: SignVerdict::Granted,
            duty: payload.duty().cloned(),
            log_index: None,
            leader: None,
        })
    }

    async fn generate_key(
        &self,
        _: &Extensions,
        _chain: ChainRef,
        key_type: KeyType,
    ) -> Result<GenerateKeyReply, RpcError> {
        Ok(GenerateKeyReply { public: Self::key(key_type), key_type, scheme: key_type.schemes()[0] })
    }

    async fn status(&self, _: &Extensions) -> Result<StatusReply, RpcError> {
        let why = format!("nobody is served here: {}", ChainId([0; 32]));
        Ok(StatusReply {
            node: NodeId(1),
            cluster: String::new(),
            leader: None,
            leader_url: None,
            term: Default::default(),
            applied: Default::default(),
            committed: Default::default(),
            readiness: Readiness { ready: false, reasons: vec![why] },
            version: String::new(),
        })
    }

    async fn subscribe_keys(&self, pending: PendingSubscriptionSink, _: &Extensions) -> SubscriptionResult {
        pending.accept().await?;
        Ok(())
    }
}

#[async_trait]
impl SubstrateApiServer for Echo {
    async fn vrf(
        &self,
        _: &Extensions,
        _chain: ChainRef,
        _key: PublicKey,
        _slot: Slot,
        _epoch_index: EpochIndex,
        _randomness: Hash,
    ) -> Result<VrfReply, RpcError> {
        Ok(VrfReply { pre_output: HexArray([0; 32]), proof: HexArray([0; 64]) })
    }
}
