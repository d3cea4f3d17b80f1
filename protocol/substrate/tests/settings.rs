//! What is kept about a chain: read in one encoding and no other.

use parity_scale_codec::{DecodeAll as _, Encode as _};
use serde_json::json;
use signonce_protocol::{Chain, ChainId, Settings, SettingsSpec};
use signonce_substrate::{AuraMode, ChainFormat, ChainSettings, FAMILY, Limits, NumberWidth};

fn spec() -> &'static dyn SettingsSpec {
    signonce_substrate::install();
    FAMILY.settings
}

fn settings() -> ChainSettings {
    let format = ChainFormat { number_width: NumberWidth::U64, aura_mode: AuraMode::Collator };
    let limits = Limits { beefy_shield: Some(16), ..Limits::default() };
    ChainSettings { format, slot_duration_ms: 6_000, limits }
}

#[test]
fn settings_have_one_encoding() {
    let encoded = settings().encode();
    assert_eq!(ChainSettings::decode(&encoded), Ok(settings()));
    assert_eq!(spec().check(&encoded), Ok(()));
    let bytes = encoded.as_bytes();
    assert_eq!(bytes[0], 1, "the version");
    for len in 0..bytes.len() {
        let cut = Settings::new(bytes[..len].to_vec());
        assert!(ChainSettings::decode(&cut).is_err() && spec().check(&cut).is_err(), "{len} bytes");
    }
    let longer = Settings::new([bytes, &[0]].concat());
    assert!(spec().check(&longer).unwrap_err().0.contains("not Substrate's"));
    for version in [0, 2, 255] {
        let other = Settings::new([&[version], &bytes[1..]].concat());
        let error = spec().check(&other).unwrap_err();
        assert!(error.0.contains(&format!("version {version} is not known")), "{error}");
    }
    assert!(spec().check(&Settings::default()).unwrap_err().0.contains("empty"));
    // Every other byte that reads says something else.
    for at in 1..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            match ChainSettings::decode(&Settings::new(changed.clone())) {
                Ok(read) => assert_eq!(read.encode().as_bytes(), changed),
                Err(error) => assert!(error.0.contains("not Substrate's"), "{error}"),
            }
        }
    }
}

#[test]
fn slots_of_no_length_are_refused() {
    let none = ChainSettings { slot_duration_ms: 0, ..settings() };
    assert!(spec().check(&none.encode()).unwrap_err().0.contains("0 ms"));
    let unread = Settings::new(vec![9]);
    assert_eq!(spec().slot_duration_ms(&settings().encode()), Some(6_000));
    assert_eq!(spec().slot_duration_ms(&unread), None);
    assert!(spec().show(&unread).is_empty());
    assert!(!spec().lets_more_through(&unread, &settings().encode()));
}

#[test]
fn only_limits_may_change() {
    let old = settings();
    let change = |new: ChainSettings| spec().may_become(&old.encode(), &new.encode());
    assert_eq!(change(old), Ok(()));
    assert_eq!(change(ChainSettings { limits: Limits { grandpa_sets: 1, ..old.limits }, ..old }), Ok(()));
    assert!(change(ChainSettings { format: ChainFormat::default(), ..old }).is_err());
    let retimed = change(ChainSettings { slot_duration_ms: 12_000, ..old }).unwrap_err();
    assert!(retimed.0.contains("chains retime"), "{retimed}");
    assert!(spec().may_become(&old.encode(), &Settings::new(vec![1])).is_err());
}

#[test]
fn whatever_rises_lets_more_through() {
    let old = settings();
    let more =
        |limits: Limits| spec().lets_more_through(&old.encode(), &ChainSettings { limits, ..old }.encode());
    let same = old.limits;
    assert!(!more(same));
    for higher in [
        Limits { grandpa_rounds: same.grandpa_rounds + 1, ..same },
        Limits { grandpa_sets: same.grandpa_sets + 1, ..same },
        Limits { beefy_blocks: same.beefy_blocks + 1, ..same },
        Limits { beefy_sets: same.beefy_sets + 1, ..same },
        Limits { para_sessions: same.para_sessions + 1, ..same },
        Limits { beefy_shield: Some(17), ..same },
        Limits { beefy_shield: None, ..same },
    ] {
        assert!(more(higher), "{higher:?}");
    }
    let lower = Limits {
        grandpa_rounds: 1,
        grandpa_sets: 1,
        beefy_blocks: 1,
        beefy_sets: 1,
        para_sessions: 1,
        beefy_shield: Some(0),
    };
    assert!(!more(lower));
    let off = ChainSettings { limits: Limits { beefy_shield: None, ..same }, ..old };
    assert!(!spec().lets_more_through(&off.encode(), &old.encode()), "the shield is turned on");
}

#[test]
fn a_chain_in_json_has_its_settings_beside_its_name() {
    signonce_substrate::install();
    let genesis = ChainId([1; 32]);
    let chain = settings().chain(genesis, "relay");
    let json = json!({
        "genesis": genesis,
        "name": "relay",
        "family": "substrate",
        "format": { "numberWidth": "u64", "auraMode": "collator" },
        "slotDurationMs": 6_000,
        "limits": {
            "grandpaRounds": 100_000, "grandpaSets": 1_000, "beefyBlocks": 1_000_000, "beefySets": 1_000,
            "paraSessions": 1_000, "beefyShield": 16
        },
    });
    assert_eq!(serde_json::to_value(&chain).unwrap(), json);
    assert_eq!(serde_json::from_value::<Chain>(json.clone()).unwrap(), chain);
    assert_eq!(Chain::decode_all(&mut &chain.encode()[..]).unwrap(), chain);
    for (name, value) in [
        ("slotDurationMs", json!(null)),
        ("slotDurationMs", json!("6000")),
        ("limits", json!({ "grandpaRound": 1 })),
        ("format", json!({ "numberWidth": "u16" })),
        ("jumps", json!(1)),
        ("family", json!("nobody")),
    ] {
        let mut changed = json.clone();
        changed[name] = value;
        assert!(serde_json::from_value::<Chain>(changed).is_err(), "{name}");
    }
    // What is left out has its default.
    let short =
        json!({ "genesis": genesis, "name": "relay", "family": "substrate", "slotDurationMs": 6_000 });
    let read = serde_json::from_value::<Chain>(short).unwrap();
    assert_eq!(
        ChainSettings::of(&read),
        ChainSettings { format: ChainFormat::default(), slot_duration_ms: 6_000, limits: Limits::default() }
    );
}
