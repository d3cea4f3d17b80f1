//! Watches for equivocations, so that a test can tell whether anybody signed two things for one duty.
//!
//! [`Judge::reports`] is the way for the SDK's reports into the transaction pool: it counts what passes. The SDK does
//! not report everything, though: GRANDPA keeps quiet about the node's own key (which a twin may hold as well), and
//! BABE of this release reports headers without their seals, which the chain refuses. So [`headers`] and [`votes`]
//! look for themselves and report with what the chain needs to agree. Its verdict is counted by the runtime.
//!
//! Metrics: `signonce_validator_equivocations{kind}` is what this node has seen, each duty of a key once;
//! `signonce_validator_proven_offences{kind}` is what the chain has accepted as proven.

pub mod headers;
mod pool;
pub mod votes;

use crate::service::{FullClient, Pool};
use codec::Encode;
use futures::StreamExt;
use polkadot_sdk::*;
use sc_client_api::{BlockchainEvents, execution_extensions::ExtensionsFactory};
use sc_transaction_pool_api::OffchainTransactionPoolFactory;
use signonce_validator_runtime::{BlockNumber, Hash, offences::ProvenOffencesApi, opaque::Block};
use sp_api::ProvideRuntimeApi;
use sp_core::traits::SpawnNamed;
use sp_staking::offence::Offence as ChainOffence;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use substrate_prometheus_endpoint::{CounterVec, GaugeVec, Opts, PrometheusError, Registry, U64, register};

const LOG: &str = "judge";

/// The consensus an equivocation is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Babe,
    Grandpa,
    Beefy,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Babe, Kind::Grandpa, Kind::Beefy];

    pub fn label(self) -> &'static str {
        match self {
            Kind::Babe => "babe",
            Kind::Grandpa => "grandpa",
            Kind::Beefy => "beefy",
        }
    }

    /// What the pallet calls it on chain.
    fn offence(self) -> [u8; 16] {
        match self {
            Kind::Babe => <pallet_babe::EquivocationOffence<()> as ChainOffence<()>>::ID,
            Kind::Grandpa => <pallet_grandpa::EquivocationOffence<()> as ChainOffence<()>>::ID,
            Kind::Beefy => <pallet_beefy::EquivocationOffence<(), BlockNumber> as ChainOffence<()>>::ID,
        }
    }
}

/// A key and the duty for which it signed two things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    kind: Kind,
    /// The offender, and slot, round or block, encoded.
    duty: Vec<u8>,
}

impl Offence {
    pub fn new(kind: Kind, offender: &impl AsRef<[u8]>, duty: impl Encode) -> Self {
        Self { kind, duty: (offender.as_ref(), duty).encode() }
    }
}

/// What this node has seen of equivocations.
#[derive(Clone)]
pub struct Judge {
    client: Arc<FullClient>,
    reports: OffchainTransactionPoolFactory<Block>,
    seen: Seen,
}

impl Judge {
    /// Also gives the runtime the means to report where the SDK forgets to: BEEFY's.
    pub fn new(
        client: Arc<FullClient>,
        pool: &Arc<Pool>,
        registry: Option<&Registry>,
    ) -> Result<Self, PrometheusError> {
        let seen = Seen::new(registry)?;
        let reports = OffchainTransactionPoolFactory::new(pool::CountingPool::new(pool, seen.clone()));
        sc_client_api::ExecutorProvider::execution_extensions(&*client)
            .set_extensions_factory(Reporting(reports.clone()));
        Ok(Self { client, reports, seen })
    }

    /// For every part of the SDK that reports.
    pub fn reports(&self) -> OffchainTransactionPoolFactory<Block> {
        self.reports.clone()
    }

    /// The numbers so far, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.seen.counts()
    }

    /// Follows what the chain has accepted as proven.
    pub fn follow_chain(
        &self,
        spawner: impl SpawnNamed,
        registry: Option<&Registry>,
    ) -> Result<(), PrometheusError> {
        let Some(registry) = registry else { return Ok(()) };
        let proven = register(
            GaugeVec::<U64>::new(
                Opts::new(
                    "signonce_validator_proven_offences",
                    "Equivocations that the chain accepted as proven",
                ),
                &["kind"],
            )?,
            registry,
        )?;
        for kind in Kind::ALL {
            proven.with_label_values(&[kind.label()]).set(0);
        }
        let client = self.client.clone();
        let blocks = self.client.import_notification_stream();
        let follow = blocks.for_each(move |block| {
            if block.is_new_best {
                for (kind, count) in proven_at(&client, block.hash) {
                    proven.with_label_values(&[kind]).set(count);
                }
            }
            futures::future::ready(())
        });
        spawner.spawn("proven-offences", Some("judge"), Box::pin(follow));
        Ok(())
    }
}

/// The equivocations that the chain has accepted as proven up to this block: number by kind, nought included.
pub fn proven_at(client: &FullClient, at: Hash) -> BTreeMap<&'static str, u64> {
    let proven = client.runtime_api().proven_offences(at).unwrap_or_else(|error| {
        log::warn!(target: LOG, "Cannot read the proven offences at {at}: {error}");
        Vec::new()
    });
    count_by_kind(&proven)
}

/// Leaves out what is no equivocation: a validator that was down for a session is an offender of im-online.
fn count_by_kind(proven: &[([u8; 16], u64)]) -> BTreeMap<&'static str, u64> {
    let of =
        |kind: Kind| proven.iter().find(|(name, _)| *name == kind.offence()).map_or(0, |(_, count)| *count);
    Kind::ALL.into_iter().map(|kind| (kind.label(), of(kind))).collect()
}

/// Lets every call into the runtime hand reports to the transaction pool.
struct Reporting(OffchainTransactionPoolFactory<Block>);

impl ExtensionsFactory<Block> for Reporting {
    fn extensions_for(&self, at: Hash, _: u32) -> sp_externalities::Extensions {
        let mut extensions = sp_externalities::Extensions::new();
        extensions.register(self.0.offchain_transaction_pool(at));
        extensions
    }
}

/// Offences already counted, so that each counts once.
#[derive(Clone)]
struct Seen {
    offences: Arc<Mutex<BTreeSet<Offence>>>,
    counter: Option<CounterVec<U64>>,
}

impl Seen {
    fn new(registry: Option<&Registry>) -> Result<Self, PrometheusError> {
        let counter = registry.map(|registry| {
            let counter = CounterVec::new(
                Opts::new(
                    "signonce_validator_equivocations",
                    "Duties for which this node saw a key sign two things",
                ),
                &["kind"],
            )?;
            register(counter, registry)
        });
        let counter: Option<CounterVec<U64>> = counter.transpose()?;
        if let Some(counter) = &counter {
            // So that nought is to be read as nought, and not as a metric that is missing.
            Kind::ALL.iter().for_each(|kind| counter.with_label_values(&[kind.label()]).inc_by(0));
        }
        Ok(Self { offences: Arc::default(), counter })
    }

    /// True the first time.
    fn note(&self, offence: Offence) -> bool {
        let kind = offence.kind;
        let new = self.offences.lock().expect("no panic while it is held").insert(offence);
        if let (true, Some(counter)) = (new, &self.counter) {
            counter.with_label_values(&[kind.label()]).inc();
        }
        new
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let offences = self.offences.lock().expect("no panic while it is held");
        let of = |kind| offences.iter().filter(|offence| offence.kind == kind).count() as u64;
        Kind::ALL.into_iter().map(|kind| (kind.label(), of(kind))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_of_a_key_counts_once() {
        let registry = Registry::new();
        let seen = Seen::new(Some(&registry)).unwrap();
        assert!(seen.note(Offence::new(Kind::Babe, &[1; 32], 7_u64)));
        assert!(!seen.note(Offence::new(Kind::Babe, &[1; 32], 7_u64)));
        assert!(seen.note(Offence::new(Kind::Babe, &[1; 32], 8_u64)));
        assert!(seen.note(Offence::new(Kind::Grandpa, &[1; 32], 7_u64)));
        assert_eq!(seen.counts(), BTreeMap::from([("babe", 2), ("beefy", 0), ("grandpa", 1)]));
        assert_eq!(seen.counter.unwrap().with_label_values(&["babe"]).get(), 2);
    }

    #[test]
    fn a_validator_that_was_down_has_not_equivocated() {
        let proven = [(*b"grandpa:equivoca", 2), (*b"im-online:offlin", 3), (*b"babe:equivocatio", 1)];
        assert_eq!(count_by_kind(&proven), BTreeMap::from([("babe", 1), ("beefy", 0), ("grandpa", 2)]));
    }
}
