//! For whom keys are sealed, and the leader's sealing again.

use super::State;
use super::change::check_envelope;
use crate::{
    log::{ChangeError, error::KeyError},
    model::{Key, Resealed},
    registry::Sealing,
};
use signonce_protocol::{KeyId, NodeId};

impl State {
    /// A key that has just come in is sealed for those who are members now: whoever sealed it has asked for them.
    pub(super) fn sealed_now(&mut self, key: KeyId) {
        let members = self.registry.members().map(|member| member.node).collect();
        self.put_sealing(Sealing { key, members });
    }

    /// For whom an operator has sealed a key, nobody can see.
    pub(super) fn sealed_for_unknown(&mut self, key: KeyId) {
        self.put_sealing(Sealing { key, members: Vec::new() });
    }

    fn put_sealing(&mut self, sealing: Sealing) {
        self.registry.put_sealing(sealing, &mut self.journal);
    }

    /// New envelopes of some keys, all of them or none: a member that came or went in between makes them stale.
    pub(super) fn reseal_keys(
        &mut self,
        keys: Vec<Resealed>,
        members: Vec<NodeId>,
    ) -> Result<(), ChangeError> {
        let present: Vec<NodeId> = self.registry.members().map(|member| member.node).collect();
        if members != present {
            return Err(KeyError::SealedForOthers { sealed_for: members, members: present }.into());
        }
        let mut changed = Vec::with_capacity(keys.len());
        for Resealed { id, sealed } in keys {
            check_envelope(id, &sealed)?;
            changed.push(Key { sealed, ..self.living_key(id)?.clone() });
        }
        for key in changed {
            let id = key.id;
            self.registry.put_key(key, &mut self.journal);
            self.put_sealing(Sealing { key: id, members: members.clone() });
        }
        Ok(())
    }
}
