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
    /// A header to show in place of an empty one.
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
        module.register_method("system_health", |_, _, _| json!({ "peers": 3, "isSyncing": false })).unwrap();
        module.register_method("chain_getBlockHash", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("chain_getFinalizedHead", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("beefy_getFinalizedHead", move |_, says, _| get(says).genesis).unwrap();
        module.register_method("chain_getBlock", |_, _, _| json!({ "justifications": null })).unwrap();
        module
            .register_method("chain_getHeader", |_, says, _| {
                let mut says = says.lock().unwrap();
                says.block += 1;
                let zero = format!("0x{}", "00".repeat(32));
                let mut header = says.header.clone().unwrap_or_else(|| {
                    json!({
                        "parentHash": zero, "stateRoot": zero, "extrinsicsRoot": zero, "number": "0x0",
                        "digest": { "logs": [] },
                    })
                });
                if says.header.is_none() {
                    header["number"] = json!(format!("{:#x}", says.block));
                }
                header
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
