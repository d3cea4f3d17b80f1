//! How a key is made for a client: check its rights, make the key here, seal it to every member, and register, arm and
//! grant it with one command.
//!
//! The secret lives in this process from its making to its sealing and is then erased; afterwards every member, this
//! one included, opens the envelope from the log like any other. A crash at any point leaves no key, or a complete one
//! that nobody asks for.

use super::{Signer, errors, lookup};
use lookup::ClientView;
use signonce_cluster::{clock::unix_ms, log_throttle::LogThrottle};
use signonce_core::{Chain, Change, ChangeError, Envelope, KeyError, Member, State, client_actor};
use signonce_keys::{Recipient, SecretKey, seal};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    ChainId, KeyId, KeyType, LogIndex, NodeId,
    rpc::{ErrorCode, GenerateKeyParams, GenerateKeyReply, RpcError},
};
use signonce_shared::enroll::{new_key_floors, recipients_of};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tracing::Instrument as _;

/// Throttles log lines about keys that were not made, by client and code.
static NOT_MADE: LogThrottle<(String, &'static str)> = LogThrottle::new();

/// What is needed to make a key, from the applied state.
struct Terms {
    client: ClientView,
    chain: Chain,
    members: BTreeMap<NodeId, Member>,
}

/// A key that was made and is not registered yet.
struct Made {
    id: KeyId,
    sealed: Envelope,
}

impl Signer {
    /// Makes a session key for the client that asks.
    ///
    /// # Errors
    /// `forbidden`, `rateLimited` (the quota), `wrongChain`, `notReady`, `unknownOutcome`.
    pub async fn generate_key(
        &self,
        caller: &Caller,
        request: GenerateKeyParams,
    ) -> Result<GenerateKeyReply, RpcError> {
        let started = Instant::now();
        let id = self.handle.next_request();
        let span = tracing::info_span!("generate", request = %id);
        let client = self.enter(caller);
        let known = client.as_ref().ok().map(|client| client.id);
        let result = match client.and_then(|client| self.spend(&client, started)) {
            Ok(()) => self.generate_inner(caller, &request).instrument(span).await,
            Err(error) => Err(error),
        };
        self.observers.key_asked((id, caller, known), &result, started);
        result.map_err(|error| error.with_request(id))
    }

    async fn generate_inner(
        &self,
        caller: &Caller,
        request: &GenerateKeyParams,
    ) -> Result<GenerateKeyReply, RpcError> {
        let _one_at_a_time = self.making.lock().await;
        let found = self.handle.read(|state| terms(state, caller, request));
        let Terms { client, chain, members } = found.map_err(|error| self.if_caught_up(error))?;
        self.gate.check()?;
        // The floors of keys with slots are taken from it.
        self.gate.check_clock()?;
        let recipients = self.recipients(&members)?;
        let Made { id, sealed } = make(request.key_type, chain.genesis, recipients).await?;
        let tried = self.sync.try_envelope(id, chain.genesis, sealed.clone()).await;
        tried.map_err(|why| errors::locked(&id, &why, self.gate.leader_hint()))?;
        let scheme = scheme_of(request.key_type)?;
        let floors =
            self.handle.read(|state| new_key_floors(id.key_type, state.registry().clock(&chain), unix_ms()));
        let change =
            Change::AddGeneratedKey { client: client.id, id, scheme, chain: chain.genesis, sealed, floors };
        match self.add(&client, &chain, id, change).await {
            Ok(at) => {
                tracing::info!(client = client.name, key = %id, chain = chain.name, %at, "key made");
                Ok(GenerateKeyReply { public: id.public, key_type: id.key_type, scheme })
            }
            Err(error) => {
                let (client, code) = (&client.name, error.code.name());
                NOT_MADE.line((client.clone(), code), |left_out| {
                    tracing::info!(client, key = %id, code, left_out, "key not made: {}", error.message);
                });
                Err(error)
            }
        }
    }

    /// Has the cluster take the key in. Returns the log entry, if it is known.
    async fn add(
        &self,
        client: &ClientView,
        chain: &Chain,
        id: KeyId,
        change: Change,
    ) -> Result<LogIndex, RpcError> {
        match self.handle.change(client_actor(&client.name), change, self.timeout).await {
            Ok(Ok(done)) => Ok(done.at),
            // Proposed again after a change of leader: the first proposal was applied, and nobody else has this key.
            Ok(Err(ChangeError::Key(KeyError::KeyExists { key, .. }))) if key == id => {
                let at = self.handle.read(|state| state.key(&id).map(|key| key.registered_at));
                Ok(at.unwrap_or_default())
            }
            Ok(Err(refusal)) => Err(errors::not_made(&client.name, &chain.name, &refusal)),
            Err(error) => Err(errors::perhaps_made(&id, error, self.gate.leader_hint())),
        }
    }

    /// The recipients of every member, as a member without one could never use the key.
    fn recipients(&self, members: &BTreeMap<NodeId, Member>) -> Result<Vec<Recipient>, RpcError> {
        let mut voters = self.handle.status().voters;
        self.handle.read(|state| voters.retain(|node| !state.registry().is_removed(*node)));
        let nodes: BTreeSet<NodeId> = members.keys().chain(&voters).copied().collect();
        recipients_of(nodes.into_iter().map(|node| (node, members.get(&node))))
            .map_err(|why| RpcError::not_ready(why, self.gate.leader_hint()))
    }
}

fn terms(state: &State, caller: &Caller, request: &GenerateKeyParams) -> Result<Terms, RpcError> {
    let client = lookup::client(state, caller)?;
    let chain = lookup::chain(state, &request.chain)?.clone();
    state
        .may_generate(client.id, &chain.genesis)
        .map_err(|refusal| errors::not_made(&client.name, &chain.name, &refusal))?;
    let members = state.members().map(|member| (member.node, member.clone())).collect();
    Ok(Terms { client, chain, members })
}

async fn make(key_type: KeyType, chain: ChainId, recipients: Vec<Recipient>) -> Result<Made, RpcError> {
    let scheme = scheme_of(key_type)?;
    let make = move || {
        let secret = SecretKey::generate(scheme).map_err(|error| error.to_string())?;
        let id = KeyId { key_type, public: secret.public() };
        let sealed = seal(&secret, &id, &chain, &recipients).map_err(|error| error.to_string())?;
        Ok(Made { id, sealed: sealed.into_bytes().into() })
    };
    let made = tokio::task::spawn_blocking(make).await;
    let made = made.unwrap_or_else(|_| Err("this node is stopping".into()));
    // Nothing was proposed.
    made.map_err(|why: String| RpcError::not_ready(format!("it cannot make a {key_type} key: {why}"), None))
}

/// The scheme that new keys of the type get.
fn scheme_of(key_type: KeyType) -> Result<signonce_protocol::Scheme, RpcError> {
    let first = key_type.schemes().first().copied();
    first.ok_or_else(|| RpcError::new(ErrorCode::WrongKeyType, format!("a {key_type} key has no scheme")))
}
