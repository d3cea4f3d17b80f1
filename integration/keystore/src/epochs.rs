//! Finds the slot that a VRF transcript is for.
//!
//! BABE hands the keystore an opaque transcript of (slot, epoch index, randomness), but a signer must be given the
//! three. A transcript cannot be read, but two equal ones give equal challenge bytes: so candidates are built from the
//! epochs that the runtime reports and compared with it, the slots near the clock first. The result is therefore
//! exactly what was asked. Extra data beside the transcript, which BABE never gives, cannot be seen here: the keystore
//! notices it when it verifies the answer against the data it was given.
//!
//! The runtime is asked on a thread of its own: BABE holds the lock of its epoch changes during a keystore call, and a
//! runtime call in there could wait for it.

use signonce_protocol::Hash;
use signonce_substrate::{EpochIndex, VrfRequest};
use sp_api::ProvideRuntimeApi;
use sp_blockchain::HeaderBackend;
use sp_consensus_babe::{BabeApi, Epoch, make_vrf_transcript};
use sp_core::sr25519::vrf::{VrfInput, VrfSignData};
use sp_runtime::traits::Block;
use std::{
    collections::VecDeque,
    marker::PhantomData,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Epochs kept: the present and the next one, and those of the last hours.
const MAX_EPOCHS: usize = 16;
/// How often the runtime is asked.
const POLL: Duration = Duration::from_secs(1);
/// How long a question waits for the runtime to be asked again. BABE's slot has no time for more.
const REFRESH_WAIT: Duration = Duration::from_millis(100);
/// Slots around the present one: a block is claimed in its own slot; a node may be late, its clock a little ahead.
const NEAR: [i64; 4] = [0, -1, 1, -2];
/// The most transcripts built for one question that is not near: `babe_epochAuthorship` asks for each slot of an epoch
/// (2400 on Polkadot). Each takes some 2 µs.
const MAX_SCANNED: usize = 20_000;

/// The epochs known, and the search through them.
#[derive(Default)]
pub(crate) struct Epochs {
    known: Mutex<Known>,
    /// Wakes the watcher, because a question wants the runtime asked now.
    wanted: Condvar,
    /// Wakes questions, because the runtime was asked.
    refreshed: Condvar,
}

#[derive(Clone, Default)]
struct Known {
    /// Last seen first.
    epochs: VecDeque<KnownEpoch>,
    slot_ms: Option<u64>,
    /// What was found last: BABE asks the same again for a secondary slot, its RPC goes on to the next slot.
    last: Option<Candidate>,
    /// Whether a thread watches the runtime.
    watched: bool,
    refresh_wanted: bool,
    /// How often the runtime was asked.
    reads: u64,
}

/// The parts of an epoch that go into transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KnownEpoch {
    index: u64,
    start_slot: u64,
    /// Never zero.
    duration: u64,
    randomness: [u8; 32],
}

impl KnownEpoch {
    fn new(epoch: &Epoch) -> Option<Self> {
        let Epoch { epoch_index, start_slot, duration, authorities: _, randomness, config: _ } = epoch;
        let (index, start_slot, duration) = (*epoch_index, **start_slot, *duration);
        (duration > 0).then_some(Self { index, start_slot, duration, randomness: *randomness })
    }

    /// The transcripts BABE makes of this epoch for a slot. There are two for a slot past the epoch's end: an epoch
    /// in which no block was made is skipped, and the one after it has the data of the last announced one with an
    /// index of its own (`Epoch::clone_for_slot` in sc-consensus-babe). The plain index is right even there before
    /// block 1: the epoch of genesis has no start yet.
    fn requests(&self, slot: u64) -> impl Iterator<Item = VrfRequest> + use<> {
        let Self { index, start_slot, duration, randomness } = *self;
        let skipped = slot.saturating_sub(start_slot) / duration;
        let moved = index.checked_add(skipped).filter(|moved| *moved != index);
        moved.into_iter().chain([index]).map(move |index| VrfRequest {
            slot: slot.into(),
            epoch_index: EpochIndex(index),
            randomness: Hash(randomness),
        })
    }

    fn slots(&self) -> std::ops::Range<u64> {
        self.start_slot..self.start_slot.saturating_add(self.duration)
    }
}

/// The runtime's answer at the best block.
struct Reading {
    current: Epoch,
    next: Epoch,
    slot_ms: Option<u64>,
}

impl Epochs {
    /// Asks the runtime once, then every second on a thread of its own for as long as the node's client lives.
    pub(crate) fn watch<B, C>(self: &Arc<Self>, client: &Arc<C>)
    where
        B: Block,
        C: ProvideRuntimeApi<B> + HeaderBackend<B> + Send + Sync + 'static,
        C::Api: BabeApi<B>,
    {
        self.watch_source(Runtime { client: Arc::downgrade(client), slot_ms: None, block: PhantomData });
    }

    /// What the transcript is for; `None` if no known epoch has such a slot.
    pub(crate) fn find(&self, data: &VrfSignData) -> Option<VrfRequest> {
        self.find_at(data, now_ms)
    }

    fn find_at(&self, data: &VrfSignData, now_ms: impl Fn() -> u64) -> Option<VrfRequest> {
        let print = fingerprint(data.as_ref());
        let is_it = |(_, request): &Candidate| print_of(request) == print;
        let known = self.lock().clone();
        let found = near(&known, now_ms()).chain(all(&known)).find(is_it).or_else(|| {
            let known = self.refresh(known.reads)?;
            near(&known, now_ms()).find(is_it)
        })?;
        self.lock().last = Some(found);
        Some(found.1)
    }

    /// Has the runtime asked once more, and returns what is known then; `None` if nothing came in time.
    fn refresh(&self, reads: u64) -> Option<Known> {
        let mut known = self.lock();
        if !known.watched {
            return None;
        }
        if known.reads == reads {
            known.refresh_wanted = true;
            self.wanted.notify_all();
            let waited = self.refreshed.wait_timeout_while(known, REFRESH_WAIT, |known| known.reads == reads);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (known.reads != reads).then(|| known.clone())
    }

    fn watch_source(self: &Arc<Self>, mut source: impl EpochSource) {
        let mut failing = self.read(&mut source, None);
        self.lock().watched = true;
        let epochs = Arc::downgrade(self);
        let watch = move || {
            while let Some(epochs) = Weak::upgrade(&epochs)
                && !source.is_gone()
            {
                epochs.pause();
                failing = epochs.read(&mut source, failing.take());
            }
            // Questions stop waiting for a thread that is gone.
            if let Some(epochs) = epochs.upgrade() {
                epochs.lock().watched = false;
            }
        };
        if let Err(error) = std::thread::Builder::new().name("babe-epochs".into()).spawn(watch) {
            self.lock().watched = false;
            log::error!(target: crate::LOG, "BABE's epochs will not be followed, so blocks stop when the next \
                epoch is over: no thread can be started ({error}). Restart the node");
        }
    }

    /// Waits until the next poll is due, or a question wants it sooner.
    fn pause(&self) {
        let known = self.lock();
        let waited = self.wanted.wait_timeout_while(known, POLL, |known| !known.refresh_wanted);
        waited.unwrap_or_else(PoisonError::into_inner).0.refresh_wanted = false;
    }

    /// Asks once. Logs one line when it begins to fail and one when it works again.
    fn read(&self, source: &mut impl EpochSource, failing: Option<String>) -> Option<String> {
        let reading = source.read();
        let mut known = self.lock();
        known.reads += 1;
        let failing = match reading {
            Ok(None) => failing,
            Ok(Some(reading)) => {
                known.take_in(&reading);
                if failing.is_some() {
                    log::info!(target: crate::LOG, "the runtime tells BABE's epochs again");
                }
                None
            }
            Err(error) => {
                if failing.is_none() {
                    log::warn!(target: crate::LOG, "the runtime does not tell BABE's epochs, so slots of new \
                        epochs cannot be claimed until it does: {error}");
                }
                Some(error)
            }
        };
        self.refreshed.notify_all();
        failing
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take_in(&mut self, reading: &Reading) {
        let Reading { current, next, slot_ms } = reading;
        self.slot_ms = slot_ms.or(self.slot_ms);
        for epoch in [next, current].into_iter().filter_map(KnownEpoch::new) {
            self.epochs.retain(|known| *known != epoch);
            self.epochs.push_front(epoch);
        }
        self.epochs.truncate(MAX_EPOCHS);
    }
}

type Candidate = (KnownEpoch, VrfRequest);

/// What BABE most likely asks: the same as before or the next slot of it, then the slots near the clock.
fn near(known: &Known, now_ms: u64) -> impl Iterator<Item = Candidate> {
    let again = known.last.into_iter().flat_map(|(epoch, request)| {
        let next = epoch.requests(request.slot.0.saturating_add(1)).map(move |request| (epoch, request));
        std::iter::once((epoch, request)).chain(next)
    });
    let now = known.slot_ms.filter(|ms| *ms > 0).map(|ms| now_ms / ms);
    let slots = now.into_iter().flat_map(|now| NEAR.map(|distance| now.saturating_add_signed(distance)));
    again.chain(slots.flat_map(|slot| known.epochs.iter().flat_map(move |epoch| candidates(*epoch, slot))))
}

/// Every slot of the known epochs, those seen last first, as far as one question may go.
fn all(known: &Known) -> impl Iterator<Item = Candidate> {
    let slots = known.epochs.iter().flat_map(|epoch| epoch.slots().map(move |slot| (*epoch, slot)));
    slots.flat_map(|(epoch, slot)| candidates(epoch, slot)).take(MAX_SCANNED)
}

fn candidates(epoch: KnownEpoch, slot: u64) -> impl Iterator<Item = Candidate> {
    epoch.requests(slot).map(move |request| (epoch, request))
}

/// Bytes that two transcripts share only if they are equal.
fn fingerprint(transcript: &VrfInput) -> [u8; 32] {
    let mut print = [0; 32];
    transcript.0.clone().challenge_bytes(b"signonce fingerprint", &mut print);
    print
}

fn print_of(request: &VrfRequest) -> [u8; 32] {
    let VrfRequest { slot, epoch_index, randomness } = request;
    fingerprint(&make_vrf_transcript(&randomness.0, slot.0.into(), epoch_index.0))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A source of epochs.
trait EpochSource: Send + 'static {
    /// What is known now; `None` once the node has dropped its client.
    fn read(&mut self) -> Result<Option<Reading>, String>;
    /// Whether there is nothing to read any more.
    fn is_gone(&self) -> bool;
}

/// The runtime at the best block. Holds only a weak client: the node's database closes when the node lets go of it.
struct Runtime<B, C> {
    client: Weak<C>,
    /// Read once: it cannot change on a chain (`BabeConfiguration::slot_duration`).
    slot_ms: Option<u64>,
    block: PhantomData<fn() -> B>,
}

impl<B, C> EpochSource for Runtime<B, C>
where
    B: Block,
    C: ProvideRuntimeApi<B> + HeaderBackend<B> + Send + Sync + 'static,
    C::Api: BabeApi<B>,
{
    fn read(&mut self) -> Result<Option<Reading>, String> {
        let Some(client) = self.client.upgrade() else { return Ok(None) };
        let best = client.info().best_hash;
        let api = client.runtime_api();
        // Without it (before version 2 of the runtime API) slots near the clock are found by the slower search.
        self.slot_ms = self.slot_ms.or_else(|| api.configuration(best).ok().map(|c| c.slot_duration));
        let current = api.current_epoch(best).map_err(|e| e.to_string())?;
        let next = api.next_epoch(best).map_err(|e| e.to_string())?;
        Ok(Some(Reading { current, next, slot_ms: self.slot_ms }))
    }

    fn is_gone(&self) -> bool {
        self.client.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_consensus_babe::make_vrf_sign_data;
    use std::sync::mpsc;

    const SLOT_MS: u64 = 6000;
    /// Epoch 7 begins at slot 1000 and has 100 slots.
    const NOW: u64 = 1050;

    fn epoch(index: u64, start_slot: u64) -> Epoch {
        Epoch {
            epoch_index: index,
            start_slot: start_slot.into(),
            duration: 100,
            authorities: Vec::new(),
            randomness: [index as u8; 32],
            config: Default::default(),
        }
    }

    fn reading(index: u64, start_slot: u64) -> Reading {
        let next = epoch(index + 1, start_slot + 100);
        Reading { current: epoch(index, start_slot), next, slot_ms: Some(SLOT_MS) }
    }

    fn epochs() -> Epochs {
        let epochs = Epochs::default();
        epochs.lock().take_in(&reading(7, 1000));
        epochs
    }

    /// The request found for what BABE would ask, with the clock in slot `NOW`.
    fn found(epochs: &Epochs, randomness: u8, slot: u64, index: u64) -> Option<VrfRequest> {
        epochs.find_at(&make_vrf_sign_data(&[randomness; 32], slot.into(), index), || NOW * SLOT_MS)
    }

    fn request(randomness: u8, slot: u64, index: u64) -> Option<VrfRequest> {
        let (slot, epoch_index, randomness) = (slot.into(), index.into(), Hash([randomness; 32]));
        Some(VrfRequest { slot, epoch_index, randomness })
    }

    #[test]
    fn slots_near_the_clock_are_recognised_in_the_present_and_the_next_epoch() {
        for slot in NOW - 2..=NOW + 1 {
            assert_eq!(found(&epochs(), 7, slot, 7), request(7, slot, 7), "slot {slot}");
        }
        let next = Epochs::default();
        next.lock().take_in(&reading(6, 900));
        assert_eq!(found(&next, 7, NOW, 7), request(7, NOW, 7), "the epoch announced as the next one");
    }

    #[test]
    fn every_slot_of_an_epoch_is_recognised_as_the_authorship_rpc_asks_for_them() {
        let epochs = epochs();
        for slot in (1000..1100).rev().chain(1000..1100) {
            assert_eq!(found(&epochs, 7, slot, 7), request(7, slot, 7), "slot {slot}");
        }
    }

    #[test]
    fn a_skipped_epoch_is_recognised_by_the_data_of_the_last_announced_one() {
        // No block since slot 740 of epoch 4: epoch 5 was announced and skipped, and so was epoch 6. BABE claims
        // slot 1050 of epoch 7 with what was announced for epoch 5.
        let epochs = Epochs::default();
        epochs.lock().take_in(&reading(4, 700));
        for slot in [NOW - 2, NOW, NOW + 1, NOW - 1] {
            epochs.lock().last = None;
            assert_eq!(found(&epochs, 5, slot, 7), request(5, slot, 7), "slot {slot}");
        }
        assert_eq!(found(&epochs, 4, NOW, 7), request(4, NOW, 7), "as from a block of epoch 3");
        assert_eq!(found(&epochs, 5, NOW, 6), None, "no epoch 6 has this slot");
    }

    #[test]
    fn the_first_block_of_a_chain_is_claimed_in_an_epoch_without_a_start() {
        // Before block 1 the runtime says that epoch 0 began at slot 0.
        let epochs = Epochs::default();
        epochs.lock().take_in(&reading(0, 0));
        assert_eq!(found(&epochs, 0, NOW, 0), request(0, NOW, 0));
    }

    #[test]
    fn another_slot_epoch_or_randomness_is_not_taken_for_a_known_one() {
        let epochs = epochs();
        assert_eq!(found(&epochs, 8, NOW, 7), None);
        assert_eq!(found(&epochs, 7, NOW, 8), None);
        assert_eq!(found(&epochs, 7, 2000, 7), None, "far from the clock and past the epoch");
    }

    #[test]
    fn the_last_sixteen_epochs_are_kept_and_a_repeated_one_once() {
        let epochs = Epochs::default();
        for index in 0..40 {
            for _ in 0..3 {
                epochs.lock().take_in(&reading(index, index * 100));
            }
        }
        let kept = epochs.lock().epochs.iter().map(|epoch| epoch.index).collect::<Vec<_>>();
        assert_eq!(kept.len(), MAX_EPOCHS);
        assert_eq!(kept[..4], [39, 40, 38, 37]);
    }

    #[test]
    fn an_epoch_without_slots_is_passed_over() {
        let epochs = Epochs::default();
        let empty = Epoch { duration: 0, ..epoch(1, 1000) };
        epochs.lock().take_in(&Reading { current: empty, next: epoch(7, 1000), slot_ms: None });
        assert_eq!(found(&epochs, 7, NOW, 7), request(7, NOW, 7), "without a slot duration, by the long way");
        assert_eq!(epochs.lock().epochs.len(), 1);
    }

    /// Reads what the test has put in, and says so.
    struct Scripted {
        readings: mpsc::Receiver<Result<Reading, String>>,
        gone: bool,
    }

    impl EpochSource for Scripted {
        fn read(&mut self) -> Result<Option<Reading>, String> {
            match self.readings.try_recv() {
                Ok(reading) => reading.map(Some),
                Err(mpsc::TryRecvError::Empty) => Err("nothing new".into()),
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.gone = true;
                    Ok(None)
                }
            }
        }
        fn is_gone(&self) -> bool {
            self.gone
        }
    }

    #[test]
    fn the_epochs_are_known_when_watching_begins_and_a_question_has_the_runtime_asked_again() {
        let (put, readings) = mpsc::channel();
        let epochs = Arc::new(Epochs::default());
        put.send(Ok(reading(7, 1000))).expect("held by the test");
        epochs.watch_source(Scripted { readings, gone: false });
        assert_eq!(found(&epochs, 7, NOW, 7), request(7, NOW, 7));
        put.send(Ok(reading(30, 1000))).expect("held by the watcher");
        // A busy machine may take longer than one question waits.
        let asked = (0..100).find_map(|_| found(&epochs, 30, NOW, 30));
        assert_eq!(asked, request(30, NOW, 30));
    }

    #[test]
    fn nothing_is_waited_for_where_nobody_watches_and_the_watcher_ends_with_its_source() {
        let epochs = Arc::new(Epochs::default());
        assert!(epochs.refresh(0).is_none());
        let (put, readings) = mpsc::channel();
        put.send(Err("no such function".into())).expect("held by the test");
        epochs.watch_source(Scripted { readings, gone: false });
        drop(put);
        while epochs.lock().watched {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(found(&epochs, 7, NOW, 7), None);
    }
}
