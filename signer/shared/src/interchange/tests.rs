//! Tests of watermark files.

use super::*;
use proptest::{prelude::*, sample::Index};
use signonce_core::{Change, Claim, ClaimRequest, ClientId, Command, Floors, Outcome, RequestId, Verdict};
use signonce_protocol::{Carry, NodeId, Slot};
use signonce_substrate::{
    BABE, BABE_BLOCK, BEEFY, BEEFY_VOTE, BlockNumber, CandidateHash, ChainFormat, ChainSettings,
    Duty as Typed, GRANDPA, GRANDPA_VOTE, GrandpaStage, Limits, PARA, PARA_SIDE, Round, SessionIndex, SetId,
    Side,
};
use std::{fs, path::Path};

const GENESIS: ChainId = ChainId([1; 32]);

/// A cluster's state, driven without a cluster.
struct World {
    state: State,
    at: u64,
}

impl World {
    /// One chain and a key of each type with claimed work, registered.
    fn new() -> Self {
        crate::families::install();
        let mut world = Self { state: State::new(), at: 0 };
        let limits = Limits { beefy_shield: None, ..Limits::default() };
        let settings = ChainSettings { format: ChainFormat::default(), slot_duration_ms: 6_000, limits };
        world.change(Change::AddChain(settings.chain(GENESIS, "polkadot")));
        for (id, _) in keys() {
            let scheme = id.key_type.schemes()[0];
            world.change(Change::RegisterKey {
                id,
                scheme,
                chain: GENESIS,
                group: None,
                sealed: vec![1].into(),
            });
        }
        world
    }

    fn armed() -> Self {
        let mut world = Self::new();
        for (id, floors) in keys() {
            world.change(Change::ArmKey { id, floors });
        }
        world
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.at += 1;
        self.state.apply(LogIndex(self.at), command).unwrap().remove(0).1
    }

    fn change(&mut self, change: Change) {
        let request = RequestId { node: NodeId(1), boot: 1, seq: 1 };
        let command = Command::Change { request, actor: "test".into(), time_ms: 0, change };
        match self.apply(command) {
            Outcome::Change(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, duty: &Duty, digest: u8) -> Verdict {
        let key = keys().into_iter().map(|(id, _)| id).find(|id| fits(*id, duty)).unwrap();
        let (client, digest, carry) = (ClientId(1), Digest([digest; 32]), Carry::default());
        let claim = Claim { key, client, duty: duty.clone(), digest, carry, time_ms: 0 };
        let request = RequestId { node: NodeId(1), boot: 1, seq: 1 };
        match self.apply(Command::Claims(vec![ClaimRequest { request, claim }])) {
            Outcome::Verdict(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    fn export(&self) -> Interchange {
        Interchange::of(&self.state, GENESIS, "c", LogIndex(self.at), 1).unwrap()
    }

    fn import(&mut self, file: &Interchange) {
        let floors = file.floors().unwrap();
        self.change(Change::ImportWatermarks { chain: GENESIS, floors });
    }

    fn floors(&self) -> Vec<Position> {
        keys().iter().flat_map(|(id, _)| self.state.watermarks(id)).map(|mark| mark.floor).collect()
    }
}

fn keys() -> Vec<(KeyId, Floors)> {
    let key = |key_type: KeyType| {
        let mut public = vec![9; key_type.schemes()[0].public_len()];
        public[0] = key_type.code() as u8;
        KeyId { key_type, public: public.as_slice().try_into().unwrap() }
    };
    let from = |class, parts: &[u64]| Floors::from(Position::new(class, parts).unwrap());
    vec![
        (key(BABE), from(BABE_BLOCK, &[1])),
        (key(GRANDPA), from(GRANDPA_VOTE, &[0, 1])),
        (key(BEEFY), from(BEEFY_VOTE, &[0, 1])),
        (key(PARA), from(PARA_SIDE, &[1])),
    ]
}

fn fits(id: KeyId, duty: &Duty) -> bool {
    duty.class().key_types().contains(&id.key_type)
}

/// Duties close together, so that they meet.
fn duty() -> impl Strategy<Value = Duty> {
    let stage = prop_oneof![Just(GrandpaStage::Prevote), Just(GrandpaStage::Precommit)];
    let side = prop_oneof![Just(Side::Valid), Just(Side::Invalid)];
    crate::families::install();
    let duty = prop_oneof![
        (1..200_u64).prop_map(|slot| Typed::BabeBlock { slot: Slot(slot) }),
        (0..3_u64, 1..150_u64, stage, 0..9_u64).prop_map(|(set, round, stage, target)| Typed::GrandpaVote {
            set_id: SetId(set),
            round: Round(round),
            stage,
            target: BlockNumber(target)
        }),
        (0..3_u64, 1..300_u64)
            .prop_map(|(set, block)| Typed::BeefyVote { set_id: SetId(set), block: BlockNumber(block) }),
        (1..12_u32, 0..4_u8, side).prop_map(|(session, candidate, side)| Typed::ParaSide {
            session: SessionIndex(session),
            candidates: vec![CandidateHash([candidate; 32])],
            side,
            statement: None,
        }),
    ];
    duty.prop_map(Duty::from)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_fresh_cluster_refuses_everything_that_the_exporting_one_signed(
        duties in prop::collection::vec((duty(), 0..3_u8), 0..300),
        minimal: bool,
    ) {
        let mut source = World::armed();
        let granted: Vec<Duty> = duties
            .into_iter()
            .filter(|(duty, digest)| source.claim(duty, *digest).may_sign())
            .map(|(duty, _)| duty)
            .collect();
        let file = source.export();
        let file = if minimal { file.minimal().unwrap() } else { file };
        let file = Interchange::read(&serde_json::to_vec(&file).unwrap()).unwrap();
        let mut fresh = World::new();
        fresh.import(&file);
        for (id, floors) in file.floors().unwrap() {
            fresh.change(Change::ArmKey { id, floors });
        }
        for duty in granted {
            // Not even the same bytes: what is past the floor is unknown.
            for digest in 0..3 {
                prop_assert!(!fresh.claim(&duty, digest).may_sign(), "{duty}");
            }
        }
    }

    #[test]
    fn an_import_never_lowers_a_floor(
        here in prop::collection::vec(duty(), 0..200),
        there in prop::collection::vec(duty(), 0..200),
    ) {
        let (mut target, mut source) = (World::armed(), World::armed());
        here.iter().for_each(|duty| drop(target.claim(duty, 1)));
        there.iter().for_each(|duty| drop(source.claim(duty, 1)));
        let before = target.floors();
        let file = source.export();
        let floors = file.floors().unwrap();
        let request = RequestId { node: NodeId(1), boot: 1, seq: 1 };
        let change = Change::ImportWatermarks { chain: GENESIS, floors };
        target.apply(Command::Change { request, actor: "test".into(), time_ms: 0, change });
        for (before, after) in before.into_iter().zip(target.floors()) {
            prop_assert_eq!(after.is_below(before), Some(false));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        crate::families::install();
        let _ = Interchange::read(&bytes);
    }

    #[test]
    fn a_file_with_a_changed_byte_is_read_or_refused_but_never_panics(
        duties in prop::collection::vec(duty(), 0..20), position: Index, byte: u8,
    ) {
        let mut source = World::armed();
        duties.iter().for_each(|duty| drop(source.claim(duty, 1)));
        let mut bytes = serde_json::to_vec(&source.export()).unwrap();
        let at = position.index(bytes.len());
        bytes[at] = byte;
        if let Ok(file) = Interchange::read(&bytes) {
            prop_assert!(file.floors().is_ok());
        }
    }
}

fn vectors() -> Vec<(String, Vec<u8>)> {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let dir = Path::new(&here).join("../tests/vectors/watermarks");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// What a file comes to that the last program with the formats of version 0.1 wrote, as its own minimal form said.
const OF_VERSION_0_1: [&str; 4] =
    ["slot 299342239", "GRANDPA set 1 round 12", "BEEFY set 1 block 1023", "session 2"];

#[test]
fn a_file_that_version_0_1_wrote_is_imported_and_everything_in_it_refused() {
    let (_, bytes) = vectors().into_iter().find(|(name, _)| name == "good-of-version-0-1").unwrap();
    let mut world = World { state: State::new(), at: 0 };
    crate::families::install();
    let file = Interchange::read(&bytes).unwrap();
    let genesis = file.metadata.genesis_hash;
    let (format, limits) = (ChainFormat::default(), Limits { beefy_shield: None, ..Limits::default() });
    let settings = ChainSettings { format, slot_duration_ms: 6_000, limits };
    world.change(Change::AddChain(settings.chain(genesis, "dev")));
    for marks in &file.keys {
        let (id, scheme) = (marks.id(), marks.key_type.schemes()[0]);
        world.change(Change::RegisterKey { id, scheme, chain: genesis, group: None, sealed: vec![1].into() });
    }
    world.change(Change::ImportWatermarks { chain: genesis, floors: file.floors().unwrap() });
    for (id, floors) in file.floors().unwrap() {
        world.change(Change::ArmKey { id, floors });
    }
    let said = |marks: &KeyMarks| world.state.watermarks(&marks.id())[0].floor.to_string();
    assert_eq!(file.keys.iter().map(said).collect::<Vec<_>>(), OF_VERSION_0_1);
    let signed =
        file.keys.iter().flat_map(|marks| marks.signed.iter().map(|signed| (marks.id(), signed.clone())));
    let signed: Vec<_> = signed.collect();
    assert_eq!(signed.len(), 35, "the file lists what was signed");
    for (key, Signed { duty, digest }) in signed {
        let (client, carry) = (ClientId(1), Carry::default());
        let claim = Claim { key, client, duty: duty.clone(), digest, carry, time_ms: 0 };
        let request = RequestId { node: NodeId(1), boot: 1, seq: 1 };
        let verdict = world.apply(Command::Claims(vec![ClaimRequest { request, claim }]));
        assert!(matches!(&verdict, Outcome::Verdict(verdict) if !verdict.may_sign()), "{duty}: {verdict:?}");
    }
}

#[test]
fn the_vectors_are_read_as_they_always_were() {
    crate::families::install();
    let (mut good, mut bad) = (0, 0);
    for (name, bytes) in vectors() {
        let read = Interchange::read(&bytes);
        if name.starts_with("good-") {
            let floors = read.unwrap_or_else(|why| panic!("{name}: {why}")).floors().unwrap();
            let said: Vec<String> =
                floors.iter().flat_map(|(_, at)| at.positions()).map(|at| at.to_string()).collect();
            let expected: &[&str] = match name.as_str() {
                "good-complete" => {
                    &["slot 1001", "GRANDPA set 7 round 13", "BEEFY set 7 block 26113000", "session 12"]
                }
                "good-of-version-0-1" => &OF_VERSION_0_1,
                "good-minimal" => &["slot 1001", "GRANDPA set 7 round 13"],
                "good-last-round" => &["GRANDPA set 8 round 0"],
                "good-empty" => &[],
                other => panic!("{other} is not expected here"),
            };
            assert_eq!(said, expected, "{name}");
            good += 1;
        } else {
            use InterchangeError as E;
            let why = read.unwrap_err();
            let expected = match name.as_str() {
                "bad-version" => matches!(why, E::Version(2)),
                "bad-format" => matches!(why, E::Format(_)),
                "bad-unknown-field" | "bad-cut-off" => matches!(why, E::Malformed(_)),
                "bad-key-twice" => matches!(why, E::KeyTwice(_)),
                "bad-duty-twice" => matches!(why, E::DutyTwice { .. }),
                "bad-below-floor" => matches!(why, E::BelowFloor { .. }),
                "bad-class" => matches!(why, E::WrongClass { .. }),
                "bad-coordinate" | "bad-number" => matches!(why, E::WrongCoordinate { .. }),
                "bad-key-length" => matches!(why, E::NoKey(_)),
                "bad-not-minimal" => matches!(why, E::NotMinimal(_)),
                "bad-last-slot" => matches!(why, E::NothingAbove { .. }),
                other => panic!("{other} is not expected here"),
            };
            assert!(expected, "{name}: {why:?}");
            bad += 1;
        }
    }
    assert_eq!((good, bad), (5, 13));
}

/// A file with one key of a CometBFT chain, which has signed this.
fn comet(floor: [u64; 3], signed: &str) -> Interchange {
    crate::families::install();
    let [height, round, step] = floor;
    let file = format!(
        r#"{{
            "metadata": {{
                "format": "signonce-watermarks", "version": 1, "form": "complete", "chain": "cosmoshub-4",
                "genesisHash": "{}"
            }},
            "keys": [{{
                "type": "comet", "public": "0x{}", "class": "cometVote",
                "floor": {{ "height": {height}, "round": {round}, "step": {step} }},
                "signed": [{signed}]
            }}]
        }}"#,
        signonce_cometbft::genesis_of("cosmoshub-4"),
        "09".repeat(32)
    );
    Interchange::read(file.as_bytes()).unwrap()
}

/// What the other cluster kept of a height beside the floor (its lock, and who is entitled) is not in a file.
#[test]
fn a_comet_key_starts_past_its_last_signature_and_past_a_height_that_it_may_have_locked() {
    let past = |floor, class: &str, round: u64, step: &str| {
        let digest = "b1".repeat(32);
        let signed = format!(
            r#"{{
                "duty": {{ "class": "{class}", "height": 12, "round": {round}, "step": "{step}" }},
                "digest": "0x{digest}"
            }}"#
        );
        let floors = comet(floor, &signed).floors().unwrap();
        floors[0].1.positions().next().unwrap().parts().to_vec()
    };
    assert_eq!(past([12, 0, 1], "cometProposal", 0, "proposal"), [12, 0, 2]);
    assert_eq!(past([12, 0, 2], "cometVote", 0, "prevote"), [12, 0, 3]);
    assert_eq!(past([12, 0, 3], "cometVote", 0, "precommit"), [13, 0, 0]);
    assert_eq!(past([12, 4, 1], "cometProposal", 4, "proposal"), [13, 0, 0]);
    let alone = |floor| comet(floor, "").floors().unwrap()[0].1.positions().next().unwrap().parts().to_vec();
    assert_eq!(alone([12, 0, 3]), [12, 0, 3], "nothing at this position was signed");
    assert_eq!(alone([12, 1, 0]), [13, 0, 0]);
    assert_eq!(alone([13, 0, 0]), [13, 0, 0]);
}
