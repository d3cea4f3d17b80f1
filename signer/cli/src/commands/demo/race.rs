//! The race: two validators with the same keys do every duty at the same time, each by its own view of the chain.
//!
//! One task for each class of duty. Both ask for each duty with conflicting payloads; then the same payloads are asked
//! for again, and the loser asks for the winner's, which must give the winner's very signature. Now and then a
//! validator asks what a broken node would: a round far ahead, a slot of tomorrow, a BEEFY vote ahead of finality.

use super::{
    chain::{self, Flavour},
    validator::{DemoKey, Validator},
};
use signonce_keys::{VrfSignature, verify_babe_vrf};
use signonce_protocol::{RawPayload, Slot};
use signonce_substrate::{GrandpaStage, Round, SessionIndex, SetId, VrfReply};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{task::JoinSet, time::sleep};

/// The rounds of a GRANDPA set; real sets have hundreds.
const ROUNDS_PER_SET: u64 = 50;
/// The candidates disputed in one session.
const DISPUTES_PER_SESSION: u64 = 50;
/// The pause of each task after a duty, as the signers share this machine with the validators.
const PAUSE: Duration = Duration::from_millis(10);
/// After this many duties, the payloads are asked for again.
const RETRY_EVERY: u64 = 4;

/// The keys both validators use.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Block production.
    pub babe: DemoKey,
    /// Finality.
    pub grandpa: DemoKey,
    /// Bridge finality.
    pub beefy: DemoKey,
    /// Parachains.
    pub para: DemoKey,
}

/// Two validators and what they share.
pub struct Race {
    /// The validators.
    pub pair: [Validator; 2],
    /// Their keys.
    pub keys: Keys,
    /// Milliseconds of a slot.
    pub slot_ms: u64,
    stop: AtomicBool,
    vrf_faults: AtomicU64,
    /// The GRANDPA set both are in.
    set: AtomicU64,
    /// The last block that was precommitted.
    precommitted: AtomicU64,
    /// The first set and session of this race.
    first: (SetId, SessionIndex),
}

impl Race {
    /// A race that has not begun.
    pub fn new(pair: [Validator; 2], keys: Keys, slot_ms: u64) -> Self {
        Self {
            pair,
            keys,
            slot_ms,
            stop: AtomicBool::new(false),
            vrf_faults: AtomicU64::new(0),
            set: AtomicU64::new(1),
            precommitted: AtomicU64::new(0),
            first: (SetId(1), SessionIndex(1)),
        }
    }

    /// Starts with another set and session, if earlier ones were raced for already.
    #[must_use]
    pub fn starting(self, set: SetId, session: SessionIndex) -> Self {
        Self { set: AtomicU64::new(set.0), first: (set, session), ..self }
    }

    /// Starts one task for each class.
    pub fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(self).blocks());
        tasks.spawn(Arc::clone(self).votes());
        tasks.spawn(Arc::clone(self).commitments());
        tasks.spawn(Arc::clone(self).disputes());
        tasks.spawn(Arc::clone(self).mistakes());
        tasks
    }

    /// Lets every task end after its present duty.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// VRF outputs that did not verify, or that differed between the two validators.
    pub fn vrf_faults(&self) -> u64 {
        self.vrf_faults.load(Ordering::Relaxed)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn now(&self) -> Slot {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Slot(u64::try_from(since.as_millis()).unwrap_or(u64::MAX) / self.slot_ms)
    }

    /// One duty, asked for by both. Returns whether anybody got a signature. `turn` decides who asks first.
    async fn duel(&self, key: &DemoKey, payloads: [RawPayload; 2], turn: u64) -> bool {
        let first = usize::from(turn.is_multiple_of(2));
        let second = 1 - first;
        let (one, other) = futures::future::join(
            self.pair[first].ask(key, &payloads[first]),
            self.pair[second].ask(key, &payloads[second]),
        )
        .await;
        if turn.is_multiple_of(RETRY_EVERY) {
            // Each retries, and the loser asks for the winner's payload.
            let winner = if one.is_some() { first } else { second };
            futures::future::join3(
                self.pair[0].ask(key, &payloads[0]),
                self.pair[1].ask(key, &payloads[1]),
                self.pair[1 - winner].ask(key, &payloads[winner]),
            )
            .await;
        }
        one.is_some() || other.is_some()
    }

    /// Headers of the present slot, with the VRF that the cluster gives.
    async fn blocks(self: Arc<Self>) {
        // The keys were armed in this slot, and sign from the next one on.
        let mut last = self.now();
        while self.goes_on() {
            let slot = self.now();
            if slot <= last {
                sleep(PAUSE).await;
                continue;
            }
            last = slot;
            let key = &self.keys.babe;
            let [a, b] = &self.pair;
            let (Some(vrf_a), Some(vrf_b)) = futures::future::join(a.vrf(key, slot), b.vrf(key, slot)).await
            else {
                continue;
            };
            if vrf_a != vrf_b || !vrf_is_sound(key, slot, &vrf_a) {
                self.vrf_faults.fetch_add(1, Ordering::Relaxed);
            }
            let header = |vrf: &VrfReply, view| chain::header(slot, &vrf.pre_output.0, &vrf.proof.0, view);
            let payloads = [header(&vrf_a, a.view), header(&vrf_b, b.view)];
            // Every slot is retried: there are few of them.
            self.duel(key, payloads, slot.0 * RETRY_EVERY).await;
        }
    }

    /// Prevotes and precommits for different blocks, over advancing rounds and sets.
    async fn votes(self: Arc<Self>) {
        let [a, b] = [self.pair[0].view, self.pair[1].view];
        let mut turn = 0;
        for set in self.first.0.0.. {
            for round in 1..=ROUNDS_PER_SET {
                for stage in [GrandpaStage::Prevote, GrandpaStage::Precommit] {
                    if !self.goes_on() {
                        return;
                    }
                    turn += 1;
                    let target = 1_000 + turn;
                    let vote =
                        |view: Flavour| chain::vote(SetId(set), Round(round), stage, target + view.0, view);
                    let signed = self.duel(&self.keys.grandpa, [vote(a), vote(b)], turn).await;
                    if signed && stage == GrandpaStage::Precommit {
                        self.set.store(set, Ordering::Relaxed);
                        self.precommitted.store(target, Ordering::Relaxed);
                    }
                    sleep(PAUSE).await;
                }
                if round % 8 == 3 {
                    // A round left behind continues in the background, as after a catch-up.
                    let late = |view| {
                        let stage = GrandpaStage::PrimaryPropose;
                        chain::vote(SetId(set), Round(round - 2), stage, 1_000 + turn, view)
                    };
                    self.duel(&self.keys.grandpa, [late(a), late(b)], turn).await;
                }
            }
        }
    }

    /// BEEFY commitments to what was precommitted.
    async fn commitments(self: Arc<Self>) {
        let mut last = 0;
        while self.goes_on() {
            let block = self.precommitted.load(Ordering::Relaxed);
            if block > last {
                last = block;
                let set = SetId(self.set.load(Ordering::Relaxed));
                let payloads = self.pair.each_ref().map(|v| chain::commitment(set, block, v.view));
                self.duel(&self.keys.beefy, payloads, block).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Both sides of disputes, and afterwards a statement for the candidate.
    async fn disputes(self: Arc<Self>) {
        for session in self.first.1.0.. {
            for number in 0..DISPUTES_PER_SESSION {
                if !self.goes_on() {
                    return;
                }
                let session = SessionIndex(session);
                let sides = [true, false].map(|valid| chain::dispute(session, number, valid));
                self.duel(&self.keys.para, sides, number).await;
                self.pair[0].ask(&self.keys.para, &chain::backing(session, number)).await;
                sleep(PAUSE).await;
            }
        }
    }

    /// What a broken node asks for; each must be refused with the right code and consume no duty.
    async fn mistakes(self: Arc<Self>) {
        let Keys { babe, grandpa, beefy, .. } = self.keys;
        let [a, b] = &self.pair;
        while self.goes_on() {
            sleep(Duration::from_millis(500)).await;
            let set = SetId(self.set.load(Ordering::Relaxed));
            let block = self.precommitted.load(Ordering::Relaxed);
            if block == 0 {
                continue;
            }
            let far = chain::vote(set, Round(u64::MAX), GrandpaStage::Prevote, block, a.view);
            a.ask(&grandpa, &far).await;
            let tomorrow = Slot(self.now().0 + 86_400_000 / self.slot_ms);
            b.ask(&babe, &chain::header(tomorrow, &[1; 32], &[2; 64], b.view)).await;
            b.ask(&beefy, &chain::commitment(set, block + 100_000, b.view)).await;
            a.ask(&babe, &chain::commitment(set, block, a.view)).await;
        }
    }
}

fn vrf_is_sound(key: &DemoKey, slot: Slot, vrf: &VrfReply) -> bool {
    let epoch = chain::epoch_of(slot);
    let signature = VrfSignature { pre_output: vrf.pre_output.0, proof: vrf.proof.0 };
    verify_babe_vrf(&key.public, slot, epoch, &chain::randomness(epoch).0, &signature)
}
