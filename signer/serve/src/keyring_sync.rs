//! Keeps the keyring in step with the registry, and what the registry says of this node up to date.
//!
//! The registry holds every key as an envelope sealed to the members. [`KeyringSync::run`] opens those for this node
//! when the registry changes; [`KeyringSync::ensure`] opens one at once for a request that cannot wait. An envelope
//! that does not open here is reported ([`KeyringSync::locked`]): this node does not serve its key, but serves all
//! others. Plaintext goes from `signonce_keys` into its keyring and nowhere else.

use signonce_cluster::Handle;
use signonce_core::{Change, Envelope, Key, KeyState, Member, State, node_actor};
use signonce_keys::{Keyring, NodeIdentity, Recipient, SealedKey};
use signonce_protocol::{ChainId, KeyId};
use signonce_shared::hint;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// The pause between two checks of the registry, which under load changes thousands of times a second.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause after the cluster did not take this node's announcement, or refused it.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// The version of a registry that was never looked at.
const NEVER: u64 = u64::MAX;

/// Keeps a keyring in step with the registry; see the module's text.
pub struct KeyringSync {
    handle: Handle,
    identity: NodeIdentity,
    keyring: Arc<Keyring>,
    locked: Mutex<BTreeMap<KeyId, Locked>>,
    /// The envelopes that the keys in the keyring came from.
    opened: Mutex<BTreeMap<KeyId, Envelope>>,
    /// The registry version the keyring is in step with.
    synced: AtomicU64,
}

/// An envelope that did not open here, and why.
struct Locked {
    sealed: Envelope,
    why: String,
}

/// A key that is to be opened.
struct Wanted {
    id: KeyId,
    chain: ChainId,
    sealed: Envelope,
}

impl Wanted {
    fn of(key: &Key) -> Self {
        Self { id: key.id, chain: key.chain, sealed: key.sealed.clone() }
    }
}

impl KeyringSync {
    /// For the node with this identity. Nothing is opened yet.
    pub fn new(handle: Handle, identity: NodeIdentity, keyring: Arc<Keyring>) -> Self {
        Self {
            handle,
            identity,
            keyring,
            locked: Mutex::default(),
            opened: Mutex::default(),
            synced: AtomicU64::new(NEVER),
        }
    }

    /// The recipient to which envelopes for this node are sealed.
    pub fn recipient(&self) -> String {
        self.identity.recipient().to_string()
    }

    /// Whether the keyring has been in step with the registry at least once.
    pub fn has_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire) != NEVER
    }

    /// The keys whose envelopes do not open here, and why.
    pub fn locked(&self) -> Vec<(KeyId, String)> {
        self.lock().iter().map(|(id, locked)| (*id, locked.why.clone())).collect()
    }

    /// Opens the key if it is registered and not open yet.
    ///
    /// # Errors
    /// Why it cannot be used on this node. Names no secret.
    pub async fn ensure(self: &Arc<Self>, id: KeyId) -> Result<(), String> {
        if self.keyring.contains(&id) {
            return Ok(());
        }
        let wanted = self.handle.read(|state| state.key(&id).map(Wanted::of));
        let wanted = wanted.ok_or_else(|| format!("no key {id} is registered"))?;
        if let Some(locked) = self.lock().get(&id).filter(|locked| locked.sealed == wanted.sealed) {
            return Err(locked.why.clone());
        }
        let this = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || this.open(wanted)).await;
        opened.unwrap_or_else(|_| Err("this node is stopping".into()))
    }

    /// Checks that this node can open the envelope, without keeping its content: done before a key is proposed.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn try_envelope(
        self: &Arc<Self>,
        id: KeyId,
        chain: ChainId,
        sealed: Envelope,
    ) -> Result<(), String> {
        let this = Arc::clone(self);
        let wanted = Wanted { id, chain, sealed };
        let opened = tokio::task::spawn_blocking(move || this.read(&wanted).map(drop)).await;
        opened.unwrap_or_else(|_| Err("this node is stopping".into()))
    }

    /// Whether the key is open on this node.
    pub fn has(&self, id: &KeyId) -> bool {
        self.keyring.contains(id)
    }

    /// Seals the key's secret in a new envelope for `recipients`, of whom this node is one. Takes a moment: it opens
    /// and seals, and opens again to check that the new envelope holds the very key that this node signs with.
    ///
    /// # Errors
    /// Why it cannot be sealed. Names no secret.
    pub fn reseal(
        &self,
        id: KeyId,
        chain: ChainId,
        sealed: Envelope,
        recipients: &[Recipient],
    ) -> Result<Envelope, String> {
        let old = SealedKey::from_bytes(sealed.as_bytes().to_vec()).map_err(|e| e.to_string())?;
        let new = signonce_keys::reseal(&old, &self.identity, &id, &chain, recipients);
        let sealed: Envelope = new.map_err(|e| e.to_string())?.into_bytes().into();
        let secret = self.read(&Wanted { id, chain, sealed: sealed.clone() })?;
        self.keyring.insert(id, secret).map_err(|e| e.to_string())?;
        Ok(sealed)
    }

    /// Follows the registry until the process ends; announces `own` whenever the registry says something else.
    pub async fn run(self: Arc<Self>, own: Member) {
        let mut applied = self.handle.applied_watch();
        let mut status = self.handle.status_watch();
        loop {
            let this = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || this.sync()).await.is_err() {
                return;
            }
            let pause = if self.announce(&own).await { PAUSE } else { ANNOUNCE_AGAIN };
            sleep(pause).await;
            let ended = tokio::select! {
                changed = applied.changed() => changed.is_err(),
                changed = status.changed() => changed.is_err(),
                () = sleep(ANNOUNCE_AGAIN) => false,
            };
            if ended {
                return;
            }
        }
    }

    /// Brings the keyring in step with the registry.
    fn sync(&self) {
        let Some((version, wanted, gone)) = self.handle.read(|state| self.difference(state)) else { return };
        for id in &gone {
            if self.keyring.remove(id) {
                tracing::info!(key = %id, "key removed from memory");
            }
        }
        self.lock().retain(|id, _| !gone.contains(id));
        self.opened().retain(|id, _| !gone.contains(id));
        let (mut opened, count) = (0, wanted.len());
        for key in wanted {
            opened += usize::from(self.open(key).is_ok());
        }
        if count > 0 {
            tracing::info!(opened, failed = count - opened, "keys opened");
        }
        self.synced.store(version, Ordering::Release);
    }

    fn difference(&self, state: &State) -> Option<(u64, Vec<Wanted>, Vec<KeyId>)> {
        let version = state.registry_version();
        if self.synced.load(Ordering::Acquire) == version {
            return None;
        }
        let (mut wanted, mut gone) = (Vec::new(), Vec::new());
        let opened = self.opened();
        for key in state.keys() {
            match key.state {
                KeyState::Removed => gone.push(key.id),
                KeyState::Registered | KeyState::Armed | KeyState::Disabled => {
                    // An envelope that was sealed again is opened again: a fault shows better now than at the next
                    // start. The key in memory continues to sign either way.
                    if !self.keyring.contains(&key.id) || opened.get(&key.id) != Some(&key.sealed) {
                        wanted.push(Wanted::of(key));
                    }
                }
            }
        }
        Some((version, wanted, gone))
    }

    /// Opens an envelope into the keyring; remembers why if it does not open.
    fn open(&self, wanted: Wanted) -> Result<(), String> {
        let opened = self
            .read(&wanted)
            .and_then(|secret| self.keyring.insert(wanted.id, secret).map_err(|e| e.to_string()));
        let mut locked = self.lock();
        match &opened {
            Ok(()) => {
                self.opened().insert(wanted.id, wanted.sealed);
                locked.remove(&wanted.id);
            }
            Err(why) => {
                let old = locked.insert(wanted.id, Locked { sealed: wanted.sealed, why: why.clone() });
                if old.is_none_or(|old| old.why != *why) {
                    tracing::warn!(key = %wanted.id, why, "this key cannot be used on this node");
                }
            }
        }
        opened
    }

    fn read(&self, wanted: &Wanted) -> Result<signonce_keys::SecretKey, String> {
        let sealed = SealedKey::from_bytes(wanted.sealed.as_bytes().to_vec()).map_err(|e| e.to_string())?;
        signonce_keys::open(&sealed, &self.identity, &wanted.id, &wanted.chain).map_err(|e| e.to_string())
    }

    /// Brings the registry's entry for this node up to date if need be; whether it is.
    async fn announce(&self, own: &Member) -> bool {
        let said = self.handle.read(|state| state.member(own.node).map(|(member, _)| member.clone()));
        if said.as_ref() == Some(own) {
            return true;
        }
        if self.handle.ready().is_err() {
            return true; // Nothing to wait for but the status, which wakes the loop.
        }
        let change = Change::AnnounceMember(own.clone());
        match self.handle.change(node_actor(own.node), change, ANNOUNCE_AGAIN).await {
            Ok(Ok(_)) => {
                tracing::info!(node = %own.node, url = own.client_url, "this node announced itself");
                return true;
            }
            Ok(Err(refused)) => {
                let refused = hint::told(&refused);
                tracing::error!(refused, "the cluster refuses what this node says of itself");
            }
            Err(error) => tracing::info!(%error, "this node could not announce itself yet"),
        }
        false
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<KeyId, Envelope>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KeyId, Locked>> {
        // A panic leaves the map consistent, and the process aborts on panics anyway.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
