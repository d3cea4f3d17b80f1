//! Who asks, for which chain and key, and with what rights: answered from the applied registry, without side effects.

use super::errors;
use signonce_core::{Chain, ClientId, ClientLimits, Key, KeyState, State};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    ChainId, DutyClass, KeyId, KeyType, PublicKey,
    rpc::{ChainRef, ErrorCode, RpcError},
};
use signonce_shared::tls::Fingerprint;

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Its number.
    pub id: ClientId,
    /// Its name.
    pub name: String,
    /// Its limits on this node.
    pub limits: ClientLimits,
}

/// The calling client.
///
/// # Errors
/// `forbidden`, with the fingerprint and the command that registers it.
pub fn client(state: &State, caller: &Caller) -> Result<ClientView, RpcError> {
    match caller.client(state) {
        Some(client) => Ok(ClientView {
            id: client.id,
            name: client.name.clone(),
            limits: state.registry().limits_of(client.id),
        }),
        None => Err(match caller {
            Caller::Certificate(peer) => unknown_client(peer.spki, peer.client.as_deref()),
            Caller::Local { .. } | Caller::Dialled { .. } => RpcError::new(
                ErrorCode::Forbidden,
                format!("{caller} is not a client of this cluster (any more)"),
            ),
        }),
    }
}

/// The name of a client; its number for one that is not known.
pub fn client_name(state: &State, id: ClientId) -> String {
    state.client(id).map_or_else(|| id.to_string(), |client| client.name.clone())
}

fn unknown_client(spki: Fingerprint, says: Option<&str>) -> RpcError {
    let called = says.map_or_else(String::new, |name| format!(" (it calls itself {name:?})"));
    let name = says.unwrap_or("<name>");
    let message = format!(
        "no client of this cluster has the certificate with SPKI fingerprint {spki}{called}; an operator adds it \
         with `signonce clients add {name} --spki {spki}` and the rights it needs"
    );
    RpcError::new(ErrorCode::Forbidden, message)
}

/// The chain that the request names.
///
/// # Errors
/// `wrongChain`.
pub fn chain<'a>(state: &'a State, named: &ChainRef) -> Result<&'a Chain, RpcError> {
    let found = match named {
        ChainRef::Id(genesis) => state.registry().chain(genesis),
        ChainRef::Name(name) => state.chain_by_name_or_id(name),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = state.chains().map(|chain| chain.name.as_str()).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        let message =
            format!("no chain {named} is known here (known: {known}); `signonce chains add` adds one");
        RpcError::new(ErrorCode::WrongChain, message)
    })
}

/// The key that `public` names for duties of `class`: armed, on `genesis`, of one of `types`, and this client's to use.
///
/// # Errors
/// `unknownKey`, `wrongChain`, `wrongKeyType`, `forbidden` or `keyNotArmed`, in this order.
pub fn key(
    state: &State,
    client: &ClientView,
    genesis: ChainId,
    public: &PublicKey,
    (class, types): (DutyClass, &[KeyType]),
) -> Result<KeyId, RpcError> {
    let of_type = |key: &&Key| types.contains(&key.id.key_type);
    let candidates: Vec<&Key> = state.keys_by_public(&genesis, public).filter(of_type).collect();
    // Usually there is one. An ownership proof fits any type under which the public key is registered.
    let allowed = || candidates.iter().filter(|key| state.allows(client.id, key, class));
    if let Some(key) = allowed().find(|key| key.state == KeyState::Armed) {
        return Ok(key.id);
    }
    if let Some(key) = allowed().next() {
        return Err(errors::not_armed(&key.id, key.state, class));
    }
    Err(match candidates.first() {
        Some(key) => forbidden(client, &key.id, class),
        None => not_found(state, genesis, public, class, types),
    })
}

fn forbidden(client: &ClientView, key: &KeyId, class: DutyClass) -> RpcError {
    let message = format!(
        "client {} has no right to {class} with key {key}; an operator must grant it (`signonce clients list` shows \
         what is granted)",
        client.name
    );
    RpcError::new(ErrorCode::Forbidden, message)
}

fn not_found(
    state: &State,
    genesis: ChainId,
    public: &PublicKey,
    class: DutyClass,
    types: &[KeyType],
) -> RpcError {
    let names =
        |types: &mut dyn Iterator<Item = KeyType>| types.map(KeyType::name).collect::<Vec<_>>().join(", ");
    let wanted = names(&mut types.iter().copied());
    match state.registry().owner(public) {
        None => RpcError::new(
            ErrorCode::UnknownKey,
            format!(
                "no key {public} ({wanted}) is registered for {class}; import it, or ask the cluster that has it"
            ),
        ),
        Some(owner) if *owner != genesis => RpcError::new(
            ErrorCode::WrongChain,
            format!("key {public} belongs to chain {owner}, not to {genesis}; no {class} is signed"),
        ),
        Some(_) => {
            let types = names(&mut state.keys_by_public(&genesis, public).map(|key| key.id.key_type));
            let message =
                format!("key {public} is registered as {types}; {class} takes a key of type {wanted}");
            RpcError::new(ErrorCode::WrongKeyType, message)
        }
    }
}

#[cfg(test)]
mod tests;
