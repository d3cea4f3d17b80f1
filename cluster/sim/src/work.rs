//! What validators and administrators want: duties of every claimed class, equal and conflicting payloads for them, and
//! changes of keys and floors.

use crate::setup::{MS, Micros, SECOND, chance, pick};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use signonce_core::{Change, Claim, ClientId, Envelope, Floors};
use signonce_keys::SecretKey;
use signonce_protocol::{
    Carry, ChainId, Digest, Hash, KeyId, KeyType, NodeId, Position, Rule, Scheme, Slot, blake2_256,
};
use signonce_substrate::{
    AURA, AURA_BLOCK, AuraMode, BABE, BABE_BLOCK, BEEFY, BEEFY_VOTE, BlockNumber, CandidateHash, ChainFormat,
    ChainSettings, Duty, ECDSA, ED25519, GRANDPA, GRANDPA_VOTE, GrandpaStage, Limits, PARA, PARA_SIDE, Round,
    SR25519, SessionIndex, SetId, Side, StatementKind,
};
use std::sync::LazyLock;

/// How often the chain comes to a new duty. Slots last as long.
const STEP: Micros = 250 * MS;
/// The first slot.
const FIRST_SLOT: u64 = 1_000;

/// The time at a moment of the schedule, by a correct clock.
pub fn unix_ms(at: Micros) -> u64 {
    (FIRST_SLOT * STEP + at) / MS
}

/// The slot at that time.
pub fn slot_at(unix_ms: u64) -> u64 {
    unix_ms / (STEP / MS)
}

/// The kinds of claimed work. One key of each; all but the two for AURA sign for one chain and belong to one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Blocks of a relay chain.
    Babe,
    /// Finality votes.
    Grandpa,
    /// Bridge votes.
    Beefy,
    /// Sides on candidates.
    Para,
    /// Blocks of a solo chain.
    Aura,
    /// Blocks of a collator: several per slot.
    Collator,
}

impl Kind {
    /// All of them, in the order of [`KEYS`].
    pub const ALL: [Self; 6] =
        [Self::Babe, Self::Grandpa, Self::Beefy, Self::Para, Self::Aura, Self::Collator];

    /// Its key.
    pub fn key(self) -> &'static SimKey {
        &KEYS[self as usize]
    }

    fn chain(self) -> (ChainId, &'static str, ChainFormat) {
        let format = ChainFormat::default();
        match self {
            Self::Babe | Self::Grandpa | Self::Beefy | Self::Para => {
                (ChainId([1; 32]), "relay", ChainFormat { aura_mode: AuraMode::Slot, ..format })
            }
            Self::Aura => (ChainId([2; 32]), "solo", ChainFormat { aura_mode: AuraMode::Slot, ..format }),
            Self::Collator => {
                (ChainId([3; 32]), "collator", ChainFormat { aura_mode: AuraMode::Collator, ..format })
            }
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Babe | Self::Para | Self::Aura | Self::Collator => SR25519,
            Self::Grandpa => ED25519,
            Self::Beefy => ECDSA,
        }
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::Babe => BABE,
            Self::Grandpa => GRANDPA,
            Self::Beefy => BEEFY,
            Self::Para => PARA,
            Self::Aura | Self::Collator => AURA,
        }
    }

    /// The lowest position from step `n` on.
    fn floors(self, n: u64) -> Floors {
        let (class, parts): (_, &[u64]) = match self {
            Self::Babe => (BABE_BLOCK, &[FIRST_SLOT + n]),
            Self::Aura | Self::Collator => (AURA_BLOCK, &[FIRST_SLOT + n]),
            Self::Grandpa => (GRANDPA_VOTE, &[1 + n / SET_STEPS, 1 + n % SET_STEPS]),
            Self::Beefy => (BEEFY_VOTE, &[1 + n / SET_STEPS, 100 + n]),
            Self::Para => (PARA_SIDE, &[session(n).into()]),
        };
        Floors::from(Position::new(class, parts).expect("every step is a position"))
    }

    /// A duty at step `n`, with one of the possible payloads.
    fn duty(self, n: u64, variant: u8, rng: &mut ChaCha8Rng) -> Duty {
        match self {
            Self::Babe => Duty::BabeBlock { slot: Slot(FIRST_SLOT + n) },
            Self::Aura => Duty::AuraBlock { slot: Slot(FIRST_SLOT + n), collation: None },
            Self::Collator => {
                let parent = (BlockNumber(n), Hash([rng.random_range(0..3); 32]));
                Duty::AuraBlock { slot: Slot(FIRST_SLOT + n), collation: Some(parent) }
            }
            Self::Grandpa => Duty::GrandpaVote {
                set_id: SetId(1 + n / SET_STEPS),
                round: Round(1 + n % SET_STEPS),
                stage: pick(
                    rng,
                    &[GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose],
                ),
                target: BlockNumber(100 + n + u64::from(variant)),
            },
            Self::Beefy => Duty::BeefyVote { set_id: SetId(1 + n / SET_STEPS), block: BlockNumber(100 + n) },
            Self::Para => {
                let candidates: Vec<_> = (0..rng.random_range(1..=3)).map(|i| candidate(n / 4, i)).collect();
                let backed = candidates.len() == 1 && rng.random();
                let (side, statement) = match variant {
                    0 if backed => (Side::Valid, Some(StatementKind::Seconded)),
                    2 if backed => (Side::Valid, Some(StatementKind::Valid)),
                    0 => (Side::Valid, None),
                    _ => (Side::Invalid, None),
                };
                Duty::ParaSide { session: SessionIndex(session(n)), candidates, side, statement }
            }
        }
    }
}

/// The number of steps in a set: few, so that runs meet several.
const SET_STEPS: u64 = 8;

fn session(n: u64) -> u32 {
    10 + u32::try_from(n / 20).unwrap_or(u32::MAX)
}

fn candidate(n: u64, i: u8) -> CandidateHash {
    let mut hash = [i; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    CandidateHash(hash)
}

/// A key of the simulated validator.
pub struct SimKey {
    /// Type and public key.
    pub id: KeyId,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its seed.
    pub seed: [u8; 32],
    /// Its secret.
    pub secret: SecretKey,
}

/// The keys, the same in every run.
pub static KEYS: LazyLock<Vec<SimKey>> = LazyLock::new(|| {
    signonce_substrate::install();
    let make = |kind: Kind| {
        let (scheme, seed) = (kind.scheme(), [10 + kind as u8; 32]);
        let secret = SecretKey::from_seed(scheme, &seed).expect("the seed is a sound one");
        SimKey { id: KeyId { key_type: kind.key_type(), public: secret.public() }, scheme, seed, secret }
    };
    Kind::ALL.into_iter().map(make).collect()
});

/// A validator that wants a signature.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What is to be signed.
    pub claim: Claim,
    /// The node it asks first.
    pub node: usize,
    /// How long it gives each node.
    pub patience: Micros,
    /// How many nodes it asks.
    pub tries: u8,
}

/// Which keys a run uses: two or three cause more conflicts than six.
pub fn draw_keys(rng: &mut ChaCha8Rng) -> Vec<Kind> {
    let mut keys: Vec<Kind> = (0..rng.random_range(1..=3)).map(|_| pick(rng, &Kind::ALL)).collect();
    if keys.contains(&Kind::Beefy) {
        keys.push(Kind::Grandpa); // the shield goes by it
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Wishes of one validator, or of several at nearly the same moment for one duty.
pub fn draw_wishes(rng: &mut ChaCha8Rng, keys: &[Kind], at: Micros, nodes: usize) -> Vec<(Micros, Wish)> {
    let kind = pick(rng, keys);
    let back = pick(rng, &[0, 0, 0, 1, 2, 5, 30]);
    let mut step = (at / STEP).saturating_sub(back);
    if chance(rng, 5) && !matches!(kind, Kind::Babe | Kind::Aura | Kind::Collator) {
        step += 2_000_000_000; // a broken node's future
    }
    let dice = rng.random::<u64>();
    (0..pick(rng, &[1, 1, 2, 3]))
        .map(|_| {
            let variant = pick(rng, &[0, 0, 0, 1, 2]);
            // The same random choices for all, so that they want the same duty.
            let duty = kind.duty(step, variant, &mut rand::SeedableRng::seed_from_u64(dice));
            let node = rng.random_range(0..nodes);
            let wish = Wish {
                claim: claim(kind, &duty, variant, node, at),
                node,
                patience: pick(rng, &[200 * MS, SECOND, 2 * SECOND]),
                tries: pick(rng, &[1, 2, 4]),
            };
            let spread = pick(rng, &[1, 500, 20 * MS, 400 * MS]);
            (rng.random_range(0..spread), wish)
        })
        .collect()
}

fn claim(kind: Kind, duty: &Duty, variant: u8, node: usize, at: Micros) -> Claim {
    let duty = duty.to_any();
    // The carry may differ each time, as it does here for each node that is asked. Sides have none.
    let carry = match duty.class().claim().map(|claim| &claim.rule) {
        Some(Rule::Window(_)) => Carry::new(vec![node as u8]),
        Some(Rule::Own(_)) | None => Carry::default(),
    };
    let mut bytes = parity_scale_codec::Encode::encode(&duty);
    bytes.push(variant);
    Claim {
        key: kind.key().id,
        client: ClientId(1 + u32::from(variant)),
        duty,
        digest: Digest(blake2_256(&bytes)),
        carry,
        time_ms: at / MS,
    }
}

/// What an administrator does while validators work.
pub fn draw_change(rng: &mut ChaCha8Rng, keys: &[Kind], at: Micros) -> Change {
    let kind = pick(rng, keys);
    let id = kind.key().id;
    // Behind, here, or ahead of where the chain is: some raises are refused, some pass votes under way.
    let step = (at / STEP + rng.random_range(0..8)).saturating_sub(5);
    match rng.random_range(0..10) {
        0..4 => Change::RaiseWatermark { key: id, floors: kind.floors(step) },
        4 => Change::DisableKey { id },
        5..8 => Change::ArmKey { id, floors: kind.floors(step) },
        8 => Change::ResealKey { id, sealed: Envelope::from(vec![rng.random(); 64]) },
        _ => announce(rng.random_range(1..=3), rng.random()),
    }
}

fn announce(node: u64, version: u8) -> Change {
    Change::AnnounceMember(signonce_core::Member {
        node: NodeId(node),
        recipient: format!("age1node{node}"),
        peer_addr: format!("10.0.0.{node}:{}", 7_000 + u16::from(version)),
        client_url: format!("https://10.0.0.{node}:8000"),
        supports: signonce_core::FEATURE_LEVEL,
    })
}

/// The changes with which a run starts: chains, keys, and arming.
pub fn provision(keys: &[Kind], shield: bool) -> Vec<Change> {
    let limits = Limits { beefy_shield: shield.then_some(16), ..Limits::default() };
    let mut changes = Vec::new();
    let mut chains = Vec::new();
    for kind in keys {
        let (genesis, name, format) = kind.chain();
        if !chains.contains(&genesis) {
            chains.push(genesis);
            let settings = ChainSettings { format, slot_duration_ms: STEP / MS, limits };
            changes.push(Change::AddChain(settings.chain(genesis, name)));
        }
        let SimKey { id, scheme, .. } = *kind.key();
        let sealed = Envelope::from(vec![1; 64]);
        let group = (genesis == ChainId([1; 32])).then(|| "validator".into());
        changes.push(Change::RegisterKey { id, scheme, chain: genesis, group, sealed });
        changes.push(Change::ArmKey { id, floors: kind.floors(0) });
    }
    changes
}
