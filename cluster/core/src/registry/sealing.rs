//! For whom the envelope of each key is sealed, as far as the log knows: what tells the leader which keys to seal
//! again when members come and go.

use super::Registry;
use parity_scale_codec::{Decode, Encode};
use signonce_protocol::{KeyId, NodeId};

/// For whom a key's envelope is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Sealing {
    pub(crate) key: KeyId,
    /// By id. Empty if nobody has said.
    pub(crate) members: Vec<NodeId>,
}

impl Registry {
    /// The keys of which it is kept.
    pub(crate) fn sealings(&self) -> impl Iterator<Item = &KeyId> {
        self.sealing.keys()
    }

    /// The members that the key's envelope was sealed for, by id; `None` where that is not known: one that an
    /// operator has sealed again.
    pub fn sealed_for(&self, key: &KeyId) -> Option<&[NodeId]> {
        self.sealing.get(key).map(|sealing| sealing.members.as_slice()).filter(|members| !members.is_empty())
    }
}
