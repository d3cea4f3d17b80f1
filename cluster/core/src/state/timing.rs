//! The length of a chain's slots: a change of it, and the floors of keys whose slots are counted by it.

use super::State;
use crate::{
    ledger::Given,
    log::{ChangeError, error::ChainError},
    model::{Floors, Key, KeyState, MAX_SLOT_TOLERANCE, Retiming},
    registry::{LEAST_CHANGE, MAX_COUNTINGS, Timing, Tolerance},
};
use signonce_protocol::{
    ChainId, KeyId, KeyType, LogIndex,
    mark::{Alone, Context},
};

impl State {
    /// From a moment on the slots of a chain have another length.
    pub(super) fn retime_chain(
        &mut self,
        at: LogIndex,
        chain: ChainId,
        from_ms: u64,
        slot_duration_ms: u64,
    ) -> Result<(), ChangeError> {
        let retiming = Retiming { from_ms, slot_duration_ms, at };
        let later = self.retimed(chain, retiming)?;
        self.registry.put_timing(Timing { chain, later }, &mut self.journal);
        Ok(())
    }

    /// The changes of a chain's slots with one more. To say again what was said last changes nothing.
    pub(super) fn retimed(&self, chain: ChainId, retiming: Retiming) -> Result<Vec<Retiming>, ChangeError> {
        let Retiming { from_ms, slot_duration_ms, .. } = retiming;
        let known = self.registry.chain(&chain).ok_or(ChainError::UnknownChain { genesis: chain })?;
        let wrong = |why: String| Err(ChangeError::Chain(ChainError::BadTiming { chain, why }));
        if known.slot_duration_ms().is_none() {
            return wrong(
                "it has none: only chains whose duties go by wall-clock slots have their length changed"
                    .into(),
            );
        }
        if slot_duration_ms == 0 {
            return wrong("a slot of 0 ms is none: give the length of the chain's slots".into());
        }
        let clock = self.registry.clock(known);
        let (since, length) = (clock.since_ms(clock.newest()), clock.duration_ms(clock.newest()));
        let mut later = self.registry.retimings(&chain).to_vec();
        if clock.is_retimed() && (since, length) == (from_ms, slot_duration_ms) {
            return Ok(later);
        }
        if from_ms <= since {
            return wrong(format!(
                "they have lasted {length} ms since {since} (Unix milliseconds), which is not before {from_ms}: take that \
                 back first, or give a later moment"
            ));
        }
        let least = length.min(slot_duration_ms).saturating_mul(LEAST_CHANGE);
        if length.abs_diff(slot_duration_ms).saturating_mul(100) < least {
            return wrong(format!(
                "{slot_duration_ms} ms is too near to {length} ms: one number would name two slots that are only a few \
                 years apart. The length must change by {LEAST_CHANGE} % at least"
            ));
        }
        if later.len() >= MAX_COUNTINGS {
            return wrong(format!("they have changed {MAX_COUNTINGS} times, which is the most that is kept"));
        }
        let fixed = |key: &&Key| {
            key.chain == chain && key.state != KeyState::Removed && has_fixed_slots(key.id.key_type)
        };
        if let Some(key) = self.registry.keys().find(fixed) {
            return wrong(format!(
                "it has {}, and the slots of {} keys never change",
                key.id, key.id.key_type
            ));
        }
        later.push(retiming);
        Ok(later)
    }

    /// Forgets the last change.
    pub(super) fn take_back_timing(&mut self, chain: ChainId) -> Result<(), ChangeError> {
        let later = self.taken_back(chain)?;
        self.registry.put_timing(Timing { chain, later }, &mut self.journal);
        Ok(())
    }

    /// The changes of a chain's slots without the last one, as long as nothing rests on that.
    pub(super) fn taken_back(&self, chain: ChainId) -> Result<Vec<Retiming>, ChangeError> {
        let known = self.registry.chain(&chain).ok_or(ChainError::UnknownChain { genesis: chain })?;
        let newest = self.registry.clock(known).newest();
        let wrong = |why: String| Err(ChangeError::Chain(ChainError::BadTiming { chain, why }));
        if newest == 0 {
            return wrong(
                "they have the length that the chain was added with: there is nothing to take back".into(),
            );
        }
        let rests = |key: &&Key| key.chain == chain && self.ledger.counting(&key.id) == newest;
        if let Some(key) = self.registry.keys().find(rests) {
            return wrong(format!(
                "{} counts by the last change already, so that change stays; make another one, from a later moment on",
                key.id
            ));
        }
        let mut later = self.registry.retimings(&chain).to_vec();
        later.pop();
        Ok(later)
    }

    /// Signers may take slots this far from their clocks, up to the most there is. It never gets less: what was signed
    /// under the wider one was signed.
    pub(super) fn widen_tolerance(&mut self, slots: u64) {
        let widest = slots.min(MAX_SLOT_TOLERANCE).max(self.registry.slot_tolerance());
        self.registry.put_tolerance(Tolerance { widest }, &mut self.journal);
    }

    /// A chain whose slots have changed takes no keys whose slots never change.
    pub(super) fn check_slots_may_change(&self, key: &Key) -> Result<(), ChangeError> {
        if !has_fixed_slots(key.id.key_type) || self.registry.retimings(&key.chain).is_empty() {
            return Ok(());
        }
        let why = format!("their length has changed, and the slots of {} never do", key.id);
        Err(ChangeError::Chain(ChainError::BadTiming { chain: key.chain, why }))
    }

    /// Starts or raises the watermark of a registered key, at floors that were given at this time.
    pub(super) fn raise(&mut self, id: KeyId, floors: &Floors, given_ms: u64) -> Result<(), ChangeError> {
        let chain = self.living_key(id)?.chain;
        self.raise_on(id, chain, floors, given_ms)
    }

    /// The same for a key of this chain.
    pub(super) fn raise_on(
        &mut self,
        id: KeyId,
        chain: ChainId,
        floors: &Floors,
        given_ms: u64,
    ) -> Result<(), ChangeError> {
        let chain = self.registry.chain(&chain).ok_or(ChainError::UnknownChain { genesis: chain })?;
        let clock = self.registry.clock(chain);
        let context = Context { chain, clock, siblings: &Alone };
        let given = Given { at_ms: given_ms, level: self.registry.feature_level() };
        Ok(self.ledger.arm(id, floors, &context, given, &mut self.journal)?)
    }

    /// Whether [`Self::raise`] would, and there is something to raise.
    pub(super) fn may_raise(&self, id: KeyId, floors: &Floors, given_ms: u64) -> Result<(), ChangeError> {
        let genesis = self.living_key(id)?.chain;
        let chain = self.registry.chain(&genesis).ok_or(ChainError::UnknownChain { genesis })?;
        let context = Context { chain, clock: self.registry.clock(chain), siblings: &Alone };
        let given = Given { at_ms: given_ms, level: self.registry.feature_level() };
        Ok(self.ledger.may_arm(id, floors, &context, given)?)
    }

    /// The counting that the slots of a key's watermark are of: see [`SlotClock`](crate::SlotClock).
    pub fn counting(&self, key: &KeyId) -> u32 {
        self.ledger.counting(key)
    }
}

/// Whether keys of this type do work that is bound to slots whose length no runtime upgrade changes.
fn has_fixed_slots(key_type: KeyType) -> bool {
    key_type.classes().filter_map(|class| class.claim()?.slots).any(|slots| !slots.may_be_retimed)
}
