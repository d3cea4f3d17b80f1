//! Chain specifications: the runtime's presets, files, and chains built for given session keys.

use polkadot_sdk::*;
use sc_service::{ChainType, GenericChainSpec};
use serde::Deserialize;
use signonce_validator_runtime::{
    AccountId, BLOB, SessionKeys,
    genesis::{self, Validator},
};
use sp_core::Pair;
use sp_keyring::Sr25519Keyring;
use std::path::Path;

pub type ChainSpec = GenericChainSpec;

/// Keeps the test chain's nodes apart from those of any other.
const PROTOCOL: &str = "signonce-test";

/// Who the validators are whose account is not given, as long as the names last.
const WELL_KNOWN: [Sr25519Keyring; 6] = [
    Sr25519Keyring::Alice,
    Sr25519Keyring::Bob,
    Sr25519Keyring::Charlie,
    Sr25519Keyring::Dave,
    Sr25519Keyring::Eve,
    Sr25519Keyring::Ferdie,
];

/// The chain of this name, or of this file.
pub fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        "" | genesis::DEV => Ok(preset(genesis::DEV)),
        genesis::LOCAL => Ok(preset(genesis::LOCAL)),
        path => ChainSpec::from_json_file(path.into()),
    }
}

fn preset(name: &str) -> ChainSpec {
    ChainSpec::builder(BLOB, None)
        .with_name(&format!("Signonce test chain ({name})"))
        .with_id(&format!("signonce-{name}"))
        .with_protocol_id(PROTOCOL)
        .with_chain_type(ChainType::Development)
        .with_genesis_config_preset_name(name)
        .build()
}

/// The raw specification of the chain of the validators that `file` lists, as JSON.
pub fn build(file: &Path) -> Result<String, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let listed: Vec<Listed> =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    if listed.is_empty() {
        return Err(format!("{}: lists no validator; a chain needs one", file.display()));
    }
    let validators = listed
        .iter()
        .enumerate()
        .map(|(index, listed)| {
            listed.validator(index).map_err(|error| format!("{}, validator {index}: {error}", file.display()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    ChainSpec::builder(BLOB, None)
        .with_name("Signonce test chain")
        .with_id("signonce-test")
        .with_protocol_id(PROTOCOL)
        .with_chain_type(ChainType::Local)
        .with_genesis_config_patch(genesis::state(&validators))
        .build()
        .as_json(true)
}

/// A validator as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listed {
    account: Option<String>,
    babe: String,
    grandpa: String,
    beefy: String,
    authority_discovery: String,
    im_online: String,
}

impl Listed {
    fn validator(&self, index: usize) -> Result<Validator, String> {
        let account = match &self.account {
            Some(hex) => AccountId::new(bytes("account", hex)?),
            None => account(index),
        };
        let keys = SessionKeys {
            babe: sp_core::sr25519::Public::from_raw(bytes("babe", &self.babe)?).into(),
            grandpa: sp_core::ed25519::Public::from_raw(bytes("grandpa", &self.grandpa)?).into(),
            beefy: sp_core::ecdsa::Public::from_raw(bytes("beefy", &self.beefy)?).into(),
            authority_discovery: sp_core::sr25519::Public::from_raw(bytes(
                "authorityDiscovery",
                &self.authority_discovery,
            )?)
            .into(),
            im_online: sp_core::sr25519::Public::from_raw(bytes("imOnline", &self.im_online)?).into(),
        };
        Ok(Validator { account, keys })
    }
}

/// The account of the validator at `index`, its seed being known to everybody: `//Alice` and so on, then
/// `//Validator6` and so on.
fn account(index: usize) -> AccountId {
    match WELL_KNOWN.get(index) {
        Some(name) => name.to_account_id(),
        None => sp_core::sr25519::Pair::from_string(&format!("//Validator{index}"), None)
            .expect("a hard junction of the development phrase is a valid seed")
            .public()
            .into(),
    }
}

fn bytes<const N: usize>(name: &str, hex: &str) -> Result<[u8; N], String> {
    let bytes = sp_core::bytes::from_hex(hex).map_err(|error| format!("{name} {hex:?}: {error}"))?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| format!("{name} {hex:?}: {found} bytes instead of {N}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::{Decode, Encode};
    use sc_executor::WasmExecutor;
    use signonce_validator_runtime::{Runtime, VERSION};
    use sp_core::traits::{CallContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode};
    use sp_version::RuntimeVersion;

    /// What a function without arguments of the committed blob returns.
    fn ask_the_blob(function: &str) -> Vec<u8> {
        let code = sp_maybe_compressed_blob::decompress(BLOB, sp_maybe_compressed_blob::CODE_BLOB_BOMB_LIMIT)
            .expect("the blob is compressed as the SDK expects it");
        let fetcher = WrappedRuntimeCode(code.as_ref().into());
        let runtime = RuntimeCode { code_fetcher: &fetcher, heap_pages: None, hash: vec![1] };
        let executor = WasmExecutor::<sp_io::SubstrateHostFunctions>::builder().build();
        let mut state = sp_io::TestExternalities::default();
        let (answer, _) = executor.call(&mut state.ext(), &runtime, function, &[], CallContext::Offchain);
        answer.unwrap_or_else(|error| panic!("{function}: {error}"))
    }

    #[test]
    fn the_committed_blob_is_of_the_sources_version() {
        let version = RuntimeVersion::decode(&mut &ask_the_blob("Core_version")[..]).unwrap();
        assert_eq!(version, VERSION);
    }

    /// Pallets, calls, events, constants, runtime APIs: what of a change of the sources shows outside.
    #[test]
    fn the_committed_blob_has_the_sources_metadata() {
        let blob = Vec::<u8>::decode(&mut &ask_the_blob("Metadata_metadata")[..]).unwrap();
        assert!(blob == Runtime::metadata().encode(), "rebuild the blob: runtime/build-wasm.sh");
    }

    #[test]
    fn a_chain_is_built_for_the_listed_keys_and_for_no_less() {
        let dir = std::env::temp_dir().join(format!("signonce-chain-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("validators.json");
        let listed = |babe: &str| {
            let key = "11".repeat(32);
            std::fs::write(
                &file,
                format!(
                    r#"[{{"babe":"{babe}","grandpa":"0x{key}","beefy":"0x02{key}","authorityDiscovery":"0x{key}","imOnline":"0x{key}"}}]"#
                ),
            )
            .unwrap();
            build(&file)
        };
        let babe = "ab".repeat(32);
        let spec = listed(&format!("0x{babe}")).unwrap();
        assert!(spec.contains(&babe), "the key is in the chain's state");
        let refused = listed("0xabab").unwrap_err();
        assert!(refused.contains("babe") && refused.contains("2 bytes instead of 32"), "{refused}");
        std::fs::write(&file, "[]").unwrap();
        assert!(build(&file).unwrap_err().contains("no validator"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
