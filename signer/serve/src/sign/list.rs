//! The keys as one client sees them: those it has a right to, with what it may do and how far they have signed.
//!
//! A list may be long and wanted by many, so it is made once for each log position and set of rights, and shared
//! ([`Lists`]).

use parity_scale_codec::Encode as _;
use serde_json::value::{RawValue, to_raw_value};
use signonce_cluster::Handle;
use signonce_core::{ClientId, Key, KeyState, State, WatermarkView};
use signonce_listen::caller::Caller;
use signonce_protocol::{
    KeyId, LogIndex,
    rpc::{KeyInfo, KeysEvent, WatermarkInfo},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep_until;

/// How old a list may be for its followers: under load every key signs many times a second.
const GOOD_FOR: Duration = Duration::from_millis(250);
/// A list that nobody has asked for in this time is dropped.
const UNUSED: Duration = Duration::from_secs(60);
/// How many keys of a list cost as much as a plain request.
const KEYS_A_REQUEST: usize = 16;

/// The keys of one set of rights, as of one log position.
#[derive(Debug)]
pub struct KeyList {
    /// The log entry; the list may be newer, never older.
    pub applied: LogIndex,
    /// The keys.
    pub keys: BTreeMap<KeyId, KeyInfo>,
    event: OnceLock<Option<Box<RawValue>>>,
}

impl KeyList {
    /// A list of these keys.
    pub fn new(applied: LogIndex, keys: Vec<KeyInfo>) -> Self {
        let id = |key: &KeyInfo| KeyId { key_type: key.key_type, public: key.public };
        let keys = keys.into_iter().map(|key| (id(&key), key)).collect();
        Self { applied, keys, event: OnceLock::new() }
    }

    /// The event with the whole list, serialised once.
    pub fn event(&self) -> Option<&RawValue> {
        let event = self.event.get_or_init(|| {
            let keys = self.keys.values().cloned().collect();
            to_raw_value(&KeysEvent::All { applied: self.applied, keys }).ok()
        });
        event.as_deref()
    }

    /// What sending it costs on top of the request itself, in plain requests.
    pub fn cost(&self) -> u32 {
        u32::try_from(self.keys.len() / KEYS_A_REQUEST).unwrap_or(u32::MAX)
    }
}

/// The lists that were made last, by the rights they were made for.
#[derive(Default)]
pub struct Lists(Mutex<HashMap<Vec<u8>, Made>>);

struct Made {
    list: Arc<KeyList>,
    at: Instant,
    used: Instant,
}

impl Lists {
    /// The list for this caller as of now. A caller that is not a client sees no keys.
    pub fn now(&self, handle: &Handle, caller: &Caller) -> Arc<KeyList> {
        loop {
            let wanted = *handle.applied_watch().borrow();
            if let Ok(list) = self.find(handle, caller, wanted, Duration::ZERO) {
                return list;
            }
        }
    }

    /// The list as of `wanted` or later. Waits a little, so that all who want it get the same one.
    pub async fn since(&self, handle: &Handle, caller: &Caller, wanted: LogIndex) -> Arc<KeyList> {
        loop {
            match self.find(handle, caller, wanted, GOOD_FOR) {
                Ok(list) => return list,
                Err(next) => sleep_until(next.into()).await,
            }
        }
    }

    /// A list as of `wanted` or later: an existing one, or a new one unless one was made less than `good_for` ago, in
    /// which case this says when to come back.
    fn find(
        &self,
        handle: &Handle,
        caller: &Caller,
        wanted: LogIndex,
        good_for: Duration,
    ) -> Result<Arc<KeyList>, Instant> {
        // Read before the list is made, which may thus be newer than this says, never older.
        let applied = *handle.applied_watch().borrow();
        // Rights and keys are read from one state, so nobody gets a list that was made for others.
        handle.read(|state| {
            let client = caller.client(state);
            let rights = client.map_or_else(Vec::new, |client| client.rights.encode());
            let make = || match client {
                Some(client) => visible_keys(state, client.id),
                None => Vec::new(),
            };
            self.get_or_make(rights, (wanted, applied), good_for, Instant::now(), make)
        })
    }

    fn get_or_make(
        &self,
        rights: Vec<u8>,
        (wanted, applied): (LogIndex, LogIndex),
        good_for: Duration,
        now: Instant,
        make: impl FnOnce() -> Vec<KeyInfo>,
    ) -> Result<Arc<KeyList>, Instant> {
        // Others who want the same list wait here until it is made. A panic leaves the lists consistent.
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lists.get_mut(&rights) {
            known.used = now;
            if known.list.applied >= wanted {
                return Ok(Arc::clone(&known.list));
            }
            if now < known.at + good_for {
                return Err(known.at + good_for);
            }
        }
        let list = Arc::new(KeyList::new(applied, make()));
        lists.retain(|_, made| now.saturating_duration_since(made.used) < UNUSED);
        lists.insert(rights, Made { list: Arc::clone(&list), at: now, used: now });
        Ok(list)
    }
}

/// Every key that the client has a right to, tombstones left out.
fn visible_keys(state: &State, client: ClientId) -> Vec<KeyInfo> {
    let present = state.keys().filter(|key| key.state != KeyState::Removed);
    present.filter_map(|key| key_info(state, client, key)).collect()
}

fn key_info(state: &State, client: ClientId, key: &Key) -> Option<KeyInfo> {
    let classes: Vec<_> =
        key.id.key_type.classes().filter(|class| state.allows(client, key, *class)).collect();
    if classes.is_empty() {
        return None;
    }
    let name =
        state.registry().chain(&key.chain).map_or_else(|| key.chain.to_string(), |chain| chain.name.clone());
    Some(KeyInfo {
        chain: name,
        genesis: key.chain,
        key_type: key.id.key_type,
        scheme: key.scheme,
        public: key.id.public,
        state: key.state,
        group: key.group.clone(),
        classes,
        watermarks: watermarks(state, key),
    })
}

/// One for each claimed class of the key's type; without a floor before the key is armed.
fn watermarks(state: &State, key: &Key) -> Vec<WatermarkInfo> {
    let marks = state.watermarks(&key.id);
    if !marks.is_empty() {
        return marks.into_iter().map(watermark).collect();
    }
    let claimed = key.id.key_type.classes().filter(|class| class.is_claimed());
    claimed.map(|class| WatermarkInfo { class, floor: None, highest: None }).collect()
}

fn watermark(view: WatermarkView) -> WatermarkInfo {
    let WatermarkView { class, floor, highest, entries: _ } = view;
    WatermarkInfo { class, floor: Some(floor), highest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_list_is_made_once_for_all_who_have_the_same_rights() {
        let (lists, start, made) = (Lists::default(), Instant::now(), Cell::new(0));
        let get = |rights: &[u8], wanted: u64, ms: u64, good_for: Duration| {
            let now = start + Duration::from_millis(ms);
            let positions = (LogIndex(wanted), LogIndex(wanted));
            lists.get_or_make(rights.to_vec(), positions, good_for, now, || {
                made.set(made.get() + 1);
                Vec::new()
            })
        };
        let first = get(b"a", 5, 0, GOOD_FOR).unwrap();
        for _ in 0..1_000 {
            assert!(Arc::ptr_eq(&get(b"a", 5, 1, GOOD_FOR).unwrap(), &first));
        }
        assert_eq!(made.get(), 1);
        get(b"b", 5, 1, GOOD_FOR).unwrap();
        assert_eq!(made.get(), 2, "other rights, another list");
        // The log moves on with every signature: followers come again later and get one list, not one each.
        for entry in 6..500 {
            let next = get(b"a", entry, 2, GOOD_FOR).unwrap_err();
            assert_eq!(next, start + GOOD_FOR);
        }
        let second = get(b"a", 500, 250, GOOD_FOR).unwrap();
        assert!(Arc::ptr_eq(&get(b"a", 499, 251, GOOD_FOR).unwrap(), &second));
        assert_eq!(made.get(), 3);
        // Who asks for it now gets it as it is now.
        assert_eq!(get(b"a", 501, 252, Duration::ZERO).unwrap().applied, LogIndex(501));
        assert_eq!(made.get(), 4);
    }

    #[test]
    fn lists_that_nobody_asks_for_are_forgotten() {
        let (lists, start) = (Lists::default(), Instant::now());
        let get = |rights: &[u8], now: Instant| {
            let positions = (LogIndex(1), LogIndex(1));
            lists.get_or_make(rights.to_vec(), positions, GOOD_FOR, now, Vec::new).unwrap()
        };
        get(b"a", start);
        get(b"b", start);
        get(b"a", start + UNUSED / 2);
        get(b"c", start + UNUSED);
        let mut left: Vec<_> = lists.0.lock().unwrap().keys().cloned().collect();
        left.sort_unstable();
        assert_eq!(left, [b"a", b"c"]);
    }
}
