//! Public keys and addresses as nodes and their tools show them.

use crate::{ED25519, SECP256K1};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ripemd::Ripemd160;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use signonce_protocol::{PublicKey, Scheme};

/// The length of a validator's address in bytes.
const ADDRESS_BYTES: usize = 20;

/// The address of the validator with this consensus key; `None` for a scheme of another family.
pub fn address(scheme: Scheme, public: &PublicKey) -> Option<[u8; ADDRESS_BYTES]> {
    let hash = Sha256::digest(public.as_bytes());
    match scheme {
        ED25519 => hash.first_chunk().copied(),
        SECP256K1 => Some(Ripemd160::digest(hash).into()),
        _ => None,
    }
}

/// As `tendermint show-validator` and `cometbft show-validator` of chains made with the Cosmos SDK print it.
pub(crate) fn show_ed25519(public: &PublicKey) -> Value {
    show("/cosmos.crypto.ed25519.PubKey", public)
}

/// The same for the other scheme.
pub(crate) fn show_secp256k1(public: &PublicKey) -> Value {
    show("/cosmos.crypto.secp256k1.PubKey", public)
}

fn show(kind: &str, public: &PublicKey) -> Value {
    json!({ "@type": kind, "key": STANDARD.encode(public.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(hex: &str) -> PublicKey {
        hex::decode(hex).unwrap().as_slice().try_into().unwrap()
    }

    /// The addresses were computed with Python's hashlib.
    #[test]
    fn keys_and_addresses_are_shown_as_nodes_show_them() {
        crate::install();
        let ed25519 = public("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(
            ED25519.show(&ed25519),
            Some(json!({
                "@type": "/cosmos.crypto.ed25519.PubKey",
                "key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
            }))
        );
        let address = |scheme, public| hex::encode(address(scheme, public).unwrap());
        assert_eq!(address(ED25519, &ed25519), "21fe31dfa154a261626bf854046fd2271b7bed4b");
        let secp = public("02950e1cdfcb133d6024109fd489f734eeb4502418e538c28481f22bce276f248c");
        assert_eq!(SECP256K1.show(&secp).unwrap()["@type"], "/cosmos.crypto.secp256k1.PubKey");
        assert_eq!(address(SECP256K1, &secp), "7c2bb42a8be69791ec763e51f5a49bcd41e82237");
    }
}
