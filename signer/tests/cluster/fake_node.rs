//! A made-up node of a chain, with as much of its RPC as the keys' commands ask for.

use jsonrpsee::{
    RpcModule,
    server::{Server, ServerHandle},
    types::ErrorObjectOwned,
};
use serde_json::{Value, json};
use signonce_protocol::HexBytes;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// What a node says.
#[derive(Clone)]
pub struct Says {
    pub genesis: String,
    pub peer: &'static str,
    pub block: u64,
    /// GRANDPA set and round.
    pub grandpa: (u64, u64),
    /// What `author_hasKey` answers; it denies the call where there is nothing.
    pub has_keys: Option<bool>,
    /// What it says of its health.
    pub health: Value,
    /// How many slots of 6 s its best block, and its last final one, are behind now.
    pub behind: u64,
    pub final_behind: u64,
    /// A header to show in place of an empty one of now.
    pub header: Option<Value>,
    /// What runtime functions answer.
    pub runtime: Vec<(&'static str, Vec<u8>)>,
    /// What they answer at the best block, where that is something else than at the finalized one.
    pub best_runtime: Option<Vec<(&'static str, Vec<u8>)>>,
    /// What lies in the storage.
    pub storage: Option<Vec<u8>>,
}

/// A node; each look at its best block finds one more.
#[derive(Clone)]
pub struct FakeNode {
    pub says: Arc<Mutex<Says>>,
}

impl FakeNode {
    pub fn new(genesis: impl ToString, peer: &'static str, grandpa: (u64, u64)) -> Self {
        let says = Says {
            genesis: genesis.to_string(),
            peer,
            block: 100,
            grandpa,
            has_keys: None,
            health: json!({ "peers": 3, "isSyncing": false, "shouldHavePeers": true }),
            behind: 0,
            final_behind: 2,
            header: None,
            runtime: Vec::new(),
            best_runtime: None,
            storage: None,
        };
        Self { says: Arc::new(Mutex::new(says)) }
    }

    pub async fn serve(&self) -> (SocketAddr, ServerHandle) {
        let mut module = RpcModule::new(Arc::clone(&self.says));
        let get = |says: &Mutex<Says>| says.lock().unwrap().clone();
        module.register_method("system_localPeerId", move |_, says, _| get(says).peer).unwrap();
        module.register_method("system_health", move |_, says, _| get(says).health).unwrap();
        module.register_method("chain_getBlockHash", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("chain_getFinalizedHead", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("beefy_getFinalizedHead", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("chain_getBlock", |_, _, _| json!({ "justifications": null })).unwrap();
        module
            .register_method("chain_getHeader", |params, says, _| {
                let mut says = says.lock().unwrap();
                says.block += 1;
                let is_final = params.sequence().optional_next::<String>().is_ok_and(|hash| hash.is_some());
                let behind = if is_final { says.final_behind } else { says.behind };
                says.header.clone().unwrap_or_else(|| header_of(says.block, behind))
            })
            .unwrap();
        module
            .register_method("grandpa_roundState", move |_, says, _| {
                let (set, round) = get(says).grandpa;
                json!({ "setId": set, "best": { "round": round }, "background": [] })
            })
            .unwrap();
        module
            .register_method("author_hasKey", move |_, says, _| {
                let denied =
                    || ErrorObjectOwned::owned(-32601, "RPC call is unsafe to be called", None::<()>);
                get(says).has_keys.ok_or_else(denied)
            })
            .unwrap();
        module
            .register_method("state_call", move |params, says, _| {
                let mut params = params.sequence();
                let (function, _arguments): (String, String) = (params.next()?, params.next()?);
                let block: Option<String> = params.optional_next()?;
                let Says { runtime, best_runtime, .. } = get(says);
                let answers = best_runtime.filter(|_| block.is_none()).unwrap_or(runtime);
                let found = answers.into_iter().find(|(name, _)| *name == function);
                let none = || ErrorObjectOwned::owned(4003, "the runtime has no such function", None::<()>);
                found.map(|(_, bytes)| HexBytes(bytes)).ok_or_else(none)
            })
            .unwrap();
        module
            .register_method("state_getStorage", move |_, says, _| get(says).storage.map(HexBytes))
            .unwrap();
        let server = Server::builder().build("127.0.0.1:0").await.unwrap();
        (server.local_addr().unwrap(), server.start(module))
    }
}

/// A header of a secondary slot so many before now.
fn header_of(block: u64, behind: u64) -> Value {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let slot = u64::try_from(now_ms / 6_000).unwrap() - behind;
    let zero = format!("0x{}", "00".repeat(32));
    let log = format!("0x064241424534{}{}", "0200000000", hex::encode(slot.to_le_bytes()));
    json!({
        "parentHash": zero, "stateRoot": zero, "extrinsicsRoot": zero, "number": format!("{block:#x}"),
        "digest": { "logs": [log] },
    })
}
