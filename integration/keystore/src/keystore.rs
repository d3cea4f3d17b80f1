//! The keystore the node sees. Lists and "is it mine?" come from the cache, signatures from the cluster.

use crate::{LOG, asker::Asker, cache::Mine, rotate::FailedGenerations};
use signonce_protocol::{KeyId, KeyType, PublicKey, Scheme, ToSign};
use signonce_substrate::{BABE, ECDSA, ED25519, GRANDPA, SR25519};
use sp_core::{
    Pair as _,
    crypto::{ByteArray, KeyTypeId},
    ecdsa, ed25519, sr25519,
};
use sp_keystore::{Error, Keystore};

/// A keystore without keys: all of them are in the signer cluster. Returned by
/// [`RemoteSigner::keystore`](crate::RemoteSigner::keystore).
pub struct RemoteKeystore {
    asker: std::sync::Arc<Asker>,
    failed: FailedGenerations,
    asked_by: AskedBy,
}

/// Who calls `has_keys`, which decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedBy {
    /// The node's consensus: may it sign with them now? A GRANDPA key behind a closed gate counts as absent.
    Consensus,
    /// An operator, by `author_hasKey`: does the node have them?
    Operator,
}

impl RemoteKeystore {
    pub(crate) fn new(asker: std::sync::Arc<Asker>, asked_by: AskedBy) -> Self {
        Self { asker, failed: FailedGenerations::default(), asked_by }
    }

    /// The key, if it is this node's and of this scheme.
    fn mine(&self, key_type: KeyTypeId, public: &[u8], scheme: Scheme) -> Option<Mine> {
        self.asker.keys.find(&key_id(key_type, public)?).filter(|mine| mine.scheme == scheme)
    }

    fn publics<P: ByteArray>(&self, key_type: KeyTypeId, scheme: Scheme) -> Vec<P> {
        let Some(key_type) = known(key_type) else { return Vec::new() };
        let publics = self.asker.keys.publics(key_type, Some(scheme));
        publics.iter().filter_map(|public| P::from_slice(public.as_bytes()).ok()).collect()
    }

    fn sign<S: for<'a> TryFrom<&'a [u8]>>(
        &self,
        key_type: KeyTypeId,
        public: &[u8],
        scheme: Scheme,
        to_sign: ToSign<'_>,
    ) -> Result<Option<S>, Error> {
        let Some(mine) = self.mine(key_type, public, scheme) else {
            self.tell_of_failed_rotation(key_type, public);
            return Ok(None);
        };
        let signature = self.asker.sign(&mine, to_sign)?;
        match S::try_from(&signature) {
            Ok(signature) => Ok(Some(signature)),
            // It was verified, so it has the right length.
            Err(_) => Err(Error::Other(format!("{}: a signature of {} bytes", mine.id, signature.len()))),
        }
    }

    /// Logs that a proof was asked for a key that was never made: the runtime abandons the rotation when it gets none.
    fn tell_of_failed_rotation(&self, key_type: KeyTypeId, public: &[u8]) {
        if let Some(key) = key_id(key_type, public)
            && let Some(why) = self.failed.proof_of(&key)
        {
            log::error!(target: LOG, "author_rotateKeys fails, as no {} key was made: {why}", key.key_type);
        }
    }

    /// A key made in the cluster, or on failure one that nobody holds; see [`crate::rotate`].
    fn generate<P: ByteArray>(
        &self,
        id: KeyTypeId,
        scheme: Scheme,
        seed: Option<&str>,
        nobodys: fn() -> P,
    ) -> Result<P, Error> {
        if seed.is_some() {
            return Err(Error::Other(
                "a remote signer takes no keys from seeds: start the node without --alice, --dev and the like, \
                 and import keys into the cluster with `signonce keys import`"
                    .into(),
            ));
        }
        let told = self.failed.of_this_rotation();
        let first = told.is_none();
        let why = match (known(id), told) {
            (_, Some(why)) => why,
            (None, None) => format!("the signers hold no keys of type {}", name(id)),
            (Some(key_type), None) => match self.asker.generate(key_type, scheme) {
                Ok(key) => {
                    log::info!(target: LOG, "{key}: made in the signer cluster");
                    return P::from_slice(key.public.as_bytes())
                        .map_err(|()| Error::Other(format!("{key}: not of the length of a {scheme} key")));
                }
                Err(why) => why,
            },
        };
        let nobodys = nobodys();
        let shown = key_id(id, nobodys.as_slice()).map_or_else(|| name(id), |key| key.to_string());
        // The rest of a rotation fails with its first key; one line is enough.
        log::log!(
            target: LOG,
            if first { log::Level::Error } else { log::Level::Debug },
            "no key of type {} was made: {why}. Do not register session keys with {shown} in them: nobody holds it",
            name(id)
        );
        if let Some(key) = key_id(id, nobodys.as_slice()) {
            self.failed.remember(key, why);
        }
        Ok(nobodys)
    }

    fn has_key(&self, key_type: KeyTypeId, public: &[u8]) -> bool {
        let Some(key) = key_id(key_type, public) else { return false };
        let waits = || {
            self.asked_by == AskedBy::Consensus
                && key.key_type == GRANDPA
                && !self.asker.node.may_vote(&key.public)
        };
        self.asker.keys.has(&key) && !waits()
    }
}

/// The key type, if the signers have such keys.
fn known(key_type: KeyTypeId) -> Option<KeyType> {
    std::str::from_utf8(&key_type.0).ok()?.parse().ok()
}

fn key_id(key_type: KeyTypeId, public: &[u8]) -> Option<KeyId> {
    Some(KeyId { key_type: known(key_type)?, public: PublicKey::try_from(public).ok()? })
}

fn name(key_type: KeyTypeId) -> String {
    key_type.0.escape_ascii().to_string()
}

impl Keystore for RemoteKeystore {
    fn sr25519_public_keys(&self, key_type: KeyTypeId) -> Vec<sr25519::Public> {
        self.publics(key_type, SR25519)
    }

    fn sr25519_generate_new(
        &self,
        key_type: KeyTypeId,
        seed: Option<&str>,
    ) -> Result<sr25519::Public, Error> {
        self.generate(key_type, SR25519, seed, || sr25519::Pair::generate().0.public())
    }

    fn sr25519_sign(
        &self,
        key_type: KeyTypeId,
        public: &sr25519::Public,
        msg: &[u8],
    ) -> Result<Option<sr25519::Signature>, Error> {
        self.sign(key_type, public.as_ref(), SR25519, ToSign::Message(msg))
    }

    fn sr25519_vrf_sign(
        &self,
        key_type: KeyTypeId,
        public: &sr25519::Public,
        data: &sr25519::vrf::VrfSignData,
    ) -> Result<Option<sr25519::vrf::VrfSignature>, Error> {
        let Some(mine) = self.mine(key_type, public.as_ref(), SR25519) else { return Ok(None) };
        if mine.id.key_type != BABE {
            return Err(Error::KeyNotSupported(key_type));
        }
        Ok(Some(self.asker.vrf(&mine, public, data)?))
    }

    fn sr25519_vrf_pre_output(
        &self,
        key_type: KeyTypeId,
        public: &sr25519::Public,
        input: &sr25519::vrf::VrfInput,
    ) -> Result<Option<sr25519::vrf::VrfPreOutput>, Error> {
        // The pre-output depends only on the input, so it is that of the signature without extra data.
        let signature = self.sr25519_vrf_sign(key_type, public, &input.clone().into_sign_data())?;
        Ok(signature.map(|signature| signature.pre_output))
    }

    fn ed25519_public_keys(&self, key_type: KeyTypeId) -> Vec<ed25519::Public> {
        self.publics(key_type, ED25519)
    }

    fn ed25519_generate_new(
        &self,
        key_type: KeyTypeId,
        seed: Option<&str>,
    ) -> Result<ed25519::Public, Error> {
        self.generate(key_type, ED25519, seed, || ed25519::Pair::generate().0.public())
    }

    fn ed25519_sign(
        &self,
        key_type: KeyTypeId,
        public: &ed25519::Public,
        msg: &[u8],
    ) -> Result<Option<ed25519::Signature>, Error> {
        self.sign(key_type, public.as_ref(), ED25519, ToSign::Message(msg))
    }

    fn ecdsa_public_keys(&self, key_type: KeyTypeId) -> Vec<ecdsa::Public> {
        self.publics(key_type, ECDSA)
    }

    fn ecdsa_generate_new(&self, key_type: KeyTypeId, seed: Option<&str>) -> Result<ecdsa::Public, Error> {
        self.generate(key_type, ECDSA, seed, || ecdsa::Pair::generate().0.public())
    }

    fn ecdsa_sign(
        &self,
        key_type: KeyTypeId,
        public: &ecdsa::Public,
        msg: &[u8],
    ) -> Result<Option<ecdsa::Signature>, Error> {
        self.sign(key_type, public.as_ref(), ECDSA, ToSign::Message(msg))
    }

    fn ecdsa_sign_prehashed(
        &self,
        key_type: KeyTypeId,
        public: &ecdsa::Public,
        msg: &[u8; 32],
    ) -> Result<Option<ecdsa::Signature>, Error> {
        self.sign(key_type, public.as_ref(), ECDSA, ToSign::Prehashed(*msg))
    }

    fn insert(&self, key_type: KeyTypeId, _suri: &str, _public: &[u8]) -> Result<(), ()> {
        log::error!(
            target: LOG,
            "author_insertKey: no {} key is taken, as this node keeps none; import it into the cluster with \
             `signonce keys import`",
            name(key_type)
        );
        Err(())
    }

    fn keys(&self, key_type: KeyTypeId) -> Result<Vec<Vec<u8>>, Error> {
        let Some(key_type) = known(key_type) else { return Ok(Vec::new()) };
        let publics = self.asker.keys.publics(key_type, None);
        Ok(publics.iter().map(|public| public.as_bytes().to_vec()).collect())
    }

    fn has_keys(&self, public_keys: &[(Vec<u8>, KeyTypeId)]) -> bool {
        public_keys.iter().all(|(public, key_type)| self.has_key(*key_type, public))
    }

    // Schemes no signer has; compiled in only where another crate turns the features on.
    sp_keystore::bandersnatch_experimental_enabled! {
        fn bandersnatch_public_keys(&self, _: KeyTypeId) -> Vec<sp_core::bandersnatch::Public> {
            Vec::new()
        }

        fn bandersnatch_generate_new(&self, id: KeyTypeId, _: Option<&str>) -> Result<sp_core::bandersnatch::Public, Error> {
            Err(Error::KeyNotSupported(id))
        }

        fn bandersnatch_sign(
            &self,
            _: KeyTypeId,
            _: &sp_core::bandersnatch::Public,
            _: &[u8],
        ) -> Result<Option<sp_core::bandersnatch::Signature>, Error> {
            Ok(None)
        }

        fn bandersnatch_vrf_sign(
            &self,
            _: KeyTypeId,
            _: &sp_core::bandersnatch::Public,
            _: &sp_core::bandersnatch::vrf::VrfSignData,
        ) -> Result<Option<sp_core::bandersnatch::vrf::VrfSignature>, Error> {
            Ok(None)
        }

        fn bandersnatch_vrf_pre_output(
            &self,
            _: KeyTypeId,
            _: &sp_core::bandersnatch::Public,
            _: &sp_core::bandersnatch::vrf::VrfInput,
        ) -> Result<Option<sp_core::bandersnatch::vrf::VrfPreOutput>, Error> {
            Ok(None)
        }

        fn bandersnatch_ring_vrf_sign(
            &self,
            _: KeyTypeId,
            _: &sp_core::bandersnatch::Public,
            _: &sp_core::bandersnatch::vrf::VrfSignData,
            _: &sp_core::bandersnatch::ring_vrf::RingProver,
        ) -> Result<Option<sp_core::bandersnatch::ring_vrf::RingVrfSignature>, Error> {
            Ok(None)
        }
    }

    sp_keystore::bls_experimental_enabled! {
        fn bls381_public_keys(&self, _: KeyTypeId) -> Vec<sp_core::bls381::Public> {
            Vec::new()
        }

        fn ecdsa_bls381_public_keys(&self, _: KeyTypeId) -> Vec<sp_core::ecdsa_bls381::Public> {
            Vec::new()
        }

        fn bls381_generate_new(&self, id: KeyTypeId, _: Option<&str>) -> Result<sp_core::bls381::Public, Error> {
            Err(Error::KeyNotSupported(id))
        }

        fn ecdsa_bls381_generate_new(&self, id: KeyTypeId, _: Option<&str>) -> Result<sp_core::ecdsa_bls381::Public, Error> {
            Err(Error::KeyNotSupported(id))
        }

        fn bls381_sign(
            &self,
            _: KeyTypeId,
            _: &sp_core::bls381::Public,
            _: &[u8],
        ) -> Result<Option<sp_core::bls381::Signature>, Error> {
            Ok(None)
        }

        fn bls381_generate_proof_of_possession(
            &self,
            _: KeyTypeId,
            _: &sp_core::bls381::Public,
            _: &[u8],
        ) -> Result<Option<sp_core::bls381::ProofOfPossession>, Error> {
            Ok(None)
        }

        fn ecdsa_bls381_sign(
            &self,
            _: KeyTypeId,
            _: &sp_core::ecdsa_bls381::Public,
            _: &[u8],
        ) -> Result<Option<sp_core::ecdsa_bls381::Signature>, Error> {
            Ok(None)
        }

        fn ecdsa_bls381_sign_with_keccak256(
            &self,
            _: KeyTypeId,
            _: &sp_core::ecdsa_bls381::Public,
            _: &[u8],
        ) -> Result<Option<sp_core::ecdsa_bls381::Signature>, Error> {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
