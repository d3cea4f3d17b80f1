//! The keys as one client sees them: those it has a right to, with what it may do and how far they have signed.

use super::{classes_of, coordinate::coordinate};
use signonce_core::{ClientId, Key, KeyState, State, WatermarkView};
use signonce_protocol::rpc::{self, KeyInfo, WatermarkInfo};

/// Every key that the client has a right to, tombstones left out.
pub fn visible_keys(state: &State, client: ClientId) -> Vec<KeyInfo> {
    let present = state.keys().filter(|key| key.state != KeyState::Removed);
    present.filter_map(|key| key_info(state, client, key)).collect()
}

fn key_info(state: &State, client: ClientId, key: &Key) -> Option<KeyInfo> {
    let classes: Vec<_> = classes_of(&key.id).filter(|class| state.allows(client, key, *class)).collect();
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
        state: match key.state {
            KeyState::Registered => rpc::KeyState::Registered,
            KeyState::Armed => rpc::KeyState::Armed,
            KeyState::Disabled => rpc::KeyState::Disabled,
            KeyState::Removed => rpc::KeyState::Removed,
        },
        group: key.group.clone(),
        classes,
        watermarks: watermarks(state, key),
    })
}

/// One per claimed class of the key's type; without floor before the key is armed.
fn watermarks(state: &State, key: &Key) -> Vec<WatermarkInfo> {
    let marks = state.watermarks(&key.id);
    if !marks.is_empty() {
        return marks.into_iter().map(watermark).collect();
    }
    let claimed = classes_of(&key.id).filter(|class| class.is_claimed());
    claimed.map(|class| WatermarkInfo { class, floor: None, highest: None }).collect()
}

fn watermark(view: WatermarkView) -> WatermarkInfo {
    let WatermarkView { class, floor, highest, entries: _ } = view;
    WatermarkInfo { class, floor: Some(coordinate(floor)), highest: highest.map(coordinate) }
}
