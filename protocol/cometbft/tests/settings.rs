//! What is kept about a chain: read in one encoding and no other, and its chain-id never changes.

use parity_scale_codec::{DecodeAll as _, Encode as _};
use serde_json::json;
use signonce_cometbft::{ChainSettings, FAMILY, Limits, MAX_CHAIN_ID_BYTES, genesis_of};
use signonce_protocol::{Chain, Settings, SettingsSpec};

fn spec() -> &'static dyn SettingsSpec {
    signonce_cometbft::install();
    FAMILY.settings
}

fn settings() -> ChainSettings {
    ChainSettings { chain_id: "cosmoshub-4".into(), limits: Limits { heights: 1_000 } }
}

#[test]
fn settings_have_one_encoding() {
    let encoded = settings().encode();
    assert_eq!(encoded.as_bytes(), b"\x01\x2ccosmoshub-4\xe8\x03\0\0\0\0\0\0");
    assert_eq!(ChainSettings::decode(&encoded), Ok(settings()));
    assert_eq!(spec().check(&encoded), Ok(()));
    let bytes = encoded.as_bytes();
    for len in 0..bytes.len() {
        let cut = Settings::new(bytes[..len].to_vec());
        assert!(ChainSettings::decode(&cut).is_err() && spec().check(&cut).is_err(), "{len} bytes");
    }
    let longer = Settings::new([bytes, &[0]].concat());
    assert!(spec().check(&longer).unwrap_err().0.contains("not CometBFT's"));
    for version in [0, 2, 255] {
        let other = Settings::new([&[version], &bytes[1..]].concat());
        let error = spec().check(&other).unwrap_err();
        assert!(error.0.contains(&format!("version {version} is not known")), "{error}");
    }
    assert!(spec().check(&Settings::default()).unwrap_err().0.contains("empty"));
}

#[test]
fn a_chain_id_is_short_and_plain() {
    let check = |chain_id: &str| spec().check(&ChainSettings::new(chain_id).encode());
    for good in ["a", "cosmoshub-4", "osmo_test.5", &"c".repeat(MAX_CHAIN_ID_BYTES)] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["", "cosmos hub", "hub\n", "hub\0", "h\u{fc}b", &"c".repeat(MAX_CHAIN_ID_BYTES + 1)] {
        assert!(check(bad).unwrap_err().0.contains("genesis file"), "{bad:?}");
        let shown = json!({ "chainId": bad });
        assert!(spec().read(shown.as_object().unwrap()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_chain_id_is_fixed_and_limits_may_change() {
    let old = settings();
    let change = |new: &ChainSettings| spec().may_become(&old.encode(), &new.encode());
    let more = |new: &ChainSettings| spec().lets_more_through(&old.encode(), &new.encode());
    let limited = |heights| ChainSettings { limits: Limits { heights }, ..settings() };
    for (heights, lets_more) in [(999, false), (1_000, false), (1_001, true)] {
        assert_eq!((change(&limited(heights)), more(&limited(heights))), (Ok(()), lets_more));
    }
    let renamed = change(&ChainSettings { chain_id: "cosmoshub-5".into(), ..settings() }).unwrap_err();
    assert!(renamed.0.contains("cosmoshub-4") && renamed.0.contains("fixed"), "{renamed}");
    assert!(spec().may_become(&old.encode(), &Settings::new(vec![1])).is_err());
    let unread = Settings::new(vec![9]);
    assert!(!spec().lets_more_through(&unread, &old.encode()) && spec().show(&unread).is_empty());
    assert_eq!(spec().slot_duration_ms(&old.encode()), None, "such chains have no slots");
}

#[test]
fn a_chain_in_json_has_its_settings_beside_its_name() {
    signonce_cometbft::install();
    let chain = settings().chain("hub");
    let json = json!({
        "genesis": genesis_of("cosmoshub-4"),
        "name": "hub",
        "family": "cometbft",
        "chainId": "cosmoshub-4",
        "limits": { "heights": 1_000 },
    });
    assert_eq!(serde_json::to_value(&chain).unwrap(), json);
    assert_eq!(serde_json::from_value::<Chain>(json.clone()).unwrap(), chain);
    assert_eq!(Chain::decode_all(&mut &chain.encode()[..]).unwrap(), chain);
    for (name, value) in [
        ("chainId", json!(null)),
        ("chainId", json!(4)),
        ("limits", json!({ "height": 1 })),
        ("limits", json!({ "heights": -1 })),
        ("chainID", json!("cosmoshub-4")),
    ] {
        let mut changed = json.clone();
        changed[name] = value;
        assert!(serde_json::from_value::<Chain>(changed).is_err(), "{name}");
    }
    // What is left out has its default.
    let short = json!({ "genesis": genesis_of("x-1"), "name": "x", "family": "cometbft", "chainId": "x-1" });
    let read = serde_json::from_value::<Chain>(short).unwrap();
    assert_eq!(ChainSettings::of(&read), ChainSettings::new("x-1"));
    assert_ne!(genesis_of("cosmoshub-4"), genesis_of("cosmoshub-5"));
}

#[test]
fn a_chain_id_is_all_that_tells_a_chain() {
    let settings = spec().of_name("cosmoshub-4").unwrap().unwrap();
    assert_eq!(settings, ChainSettings::new("cosmoshub-4").encode());
    assert_eq!(spec().identity(&settings), Some(("cosmoshub-4".to_owned(), genesis_of("cosmoshub-4"))));
    for wrong in ["", "a chain", &"x".repeat(51)] {
        assert!(spec().of_name(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(spec().identity(&Settings::new(vec![9])), None);
}
