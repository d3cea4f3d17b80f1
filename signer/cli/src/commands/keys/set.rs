//! A set of session keys as `session.setKeys` takes it: public keys one after the other in the order of the chain's
//! runtime, and the ownership proofs. Most of a set is made here; keys of types that signers do not hold stay on the
//! validator and are put in at their places.

use super::floors::describe;
use crate::commands::common::{Usage, say, table};
use serde::{Deserialize, Serialize};
use signonce_cluster::clock::unix_ms;
use signonce_core::{Chain, Floors};
use signonce_keys::SecretKey;
use signonce_protocol::{HexBytes, KeyId, KeyType, Scheme};
use signonce_shared::{
    admin::{
        api::ChainRow,
        client::{AdminClient, CallError},
    },
    enroll::{EnrollError, NewKey, enroll, new_key_floors, recipients},
};
use signonce_substrate::{
    ChainFormat, ChainSettings, Kind, Payload,
    payload::{Content, OwnershipProof},
};
use std::str::FromStr;

/// A key of the set that is made and held elsewhere: `TYPE:0xPUBLIC`, optionally followed by `:0xPROOF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    name: String,
    public: HexBytes,
    proof: Option<HexBytes>,
}

impl FromStr for Elsewhere {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not TYPE:0xPUBLIC or TYPE:0xPUBLIC:0xPROOF");
        let mut parts = text.split(':');
        let (name, public) = (parts.next(), parts.next());
        let (Some(name), Some(public)) = (name.filter(|name| name.len() == 4), public) else {
            return Err(wrong());
        };
        let public = public.parse::<HexBytes>().ok().filter(|public| matches!(public.0.len(), 32 | 33));
        let proof = parts.next().map(|proof| proof.parse().map_err(|_| wrong())).transpose()?;
        match (public, parts.next()) {
            (Some(public), None) => Ok(Self { name: name.to_owned(), public, proof }),
            _ => Err(wrong()),
        }
    }
}

/// An entry of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A key that is made here.
    Ours(KeyType),
    /// A key that is made elsewhere.
    Theirs(Elsewhere),
}

/// The entries of a set, in the runtime's order.
///
/// # Errors
/// If a type is there twice, or is neither held here nor given.
pub(super) fn entries(order: &[String], elsewhere: &[Elsewhere]) -> Result<Vec<Entry>, Usage> {
    let mut entries = Vec::new();
    for (at, name) in order.iter().enumerate() {
        if order[..at].contains(name) {
            return Err(Usage(format!("--order names {name} twice")));
        }
        let given = elsewhere.iter().find(|given| given.name == *name);
        entries.push(match (given, name.parse::<KeyType>()) {
            (Some(given), _) => Entry::Theirs(given.clone()),
            (None, Ok(key_type)) => Entry::Ours(key_type),
            (None, Err(_)) => {
                return Err(Usage(format!(
                    "{name} keys are not held by signers, they stay on the validator: make one there and give it with \
                     --elsewhere {name}:0xPUBLIC:0xPROOF, or leave {name} out of --order if the runtime has none"
                )));
            }
        });
    }
    match elsewhere.iter().find(|given| !order.contains(&given.name)) {
        Some(given) => {
            Err(Usage(format!("--elsewhere gives a key for {}, which --order does not have", given.name)))
        }
        None => Ok(entries),
    }
}

/// A set that was made. Public facts only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeSet {
    /// The keys that were made here.
    pub keys: Vec<MadeKey>,
    /// The blob for `session.setKeys`.
    pub session_keys: HexBytes,
    /// The proofs, in the same order; none if the proof of a key that was made elsewhere is missing.
    pub ownership_proof: Option<HexBytes>,
}

/// A key of the set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MadeKey {
    /// Type and public key.
    #[serde(flatten)]
    pub id: KeyId,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its first floors.
    pub floors: Floors,
}

/// A set whose secrets so far exist only in memory.
pub(super) struct Fresh {
    /// The public part.
    pub made: MadeSet,
    secrets: Vec<NewKey>,
}

/// The payload format of a chain.
pub(super) fn format_of(chain: &Chain) -> Result<ChainFormat, Usage> {
    ChainSettings::decode(&chain.settings)
        .map(|settings| settings.format)
        .map_err(|why| Usage(why.to_string()))
}

/// The ownership statement that every key signs.
///
/// # Errors
/// If the owner is not valid.
pub(super) fn statement(owner: &HexBytes, chain: &Chain) -> Result<Payload, Usage> {
    let content = Content::OwnershipProof(OwnershipProof { owner: owner.0.clone() });
    let format = format_of(chain)?;
    let bytes = content.encode(&format);
    Payload::decode(Kind::OwnershipProof, &bytes, &format).map_err(|error| Usage(format!("--owner: {error}")))
}

impl Fresh {
    /// Makes the keys of a set, in this process: of this scheme, or of the usual one of each type.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn make(
        entries: &[Entry],
        scheme: Option<Scheme>,
        chain: &ChainRow,
        group: &str,
        statement: Option<&Payload>,
    ) -> anyhow::Result<Self> {
        let (mut keys, mut secrets, mut blob) = (Vec::new(), Vec::new(), Vec::new());
        let mut proofs = Some(Vec::new());
        for entry in entries {
            let proof = match entry {
                Entry::Theirs(theirs) => {
                    blob.extend(&theirs.public.0);
                    theirs.proof.as_ref().map(|proof| proof.0.clone())
                }
                Entry::Ours(key_type) => {
                    let Some(scheme) = scheme.or(key_type.schemes().first().copied()) else { continue };
                    let secret = SecretKey::generate(scheme)?;
                    let id = KeyId { key_type: *key_type, public: secret.public() };
                    let floors = new_key_floors(*key_type, chain.clock(), unix_ms());
                    let sign = |statement: &Payload| secret.sign(statement.to_sign());
                    let proof = statement.map(sign).transpose()?.map(|proof| proof.as_bytes().to_vec());
                    blob.extend(id.public.as_bytes());
                    keys.push(MadeKey { id, scheme, floors: floors.clone() });
                    secrets.push(NewKey { id, secret, group: Some(group.to_owned()), floors });
                    proof
                }
            };
            proofs = proofs.zip(proof).map(|(proofs, proof)| [proofs, proof].concat());
        }
        let (session_keys, ownership_proof) = (HexBytes(blob), proofs.map(HexBytes));
        Ok(Self { made: MadeSet { keys, session_keys, ownership_proof }, secrets })
    }

    /// Seals, registers and arms the keys: all of them, even if one waits for a second officer.
    ///
    /// # Errors
    /// Any [`EnrollError`], with what was done before.
    pub async fn enroll(self, admin: &AdminClient, chain: &Chain) -> anyhow::Result<()> {
        let recipients = recipients(admin).await?;
        let mut made = Vec::new();
        for key in self.secrets {
            match enroll(admin, chain.genesis, &recipients, &key).await {
                Ok(_) => {}
                Err(EnrollError::Call(CallError::Proposed { id })) => {
                    say!(
                        "{} signs once another key officer says so: signonce proposals approve {id}",
                        key.id
                    );
                }
                Err(error) => {
                    let so_far = if made.is_empty() { "none".to_owned() } else { made.join(", ") };
                    let context = format!("at {}; made before it: {so_far}", key.id);
                    return Err(anyhow::Error::from(error).context(context));
                }
            }
            made.push(key.id.to_string());
        }
        Ok(())
    }
}

impl MadeSet {
    /// The keys as text for the terminal.
    pub fn describe_keys(&self) -> String {
        let rows = self.keys.iter().map(|key| {
            let MadeKey { id, scheme, floors } = key;
            [id.key_type.to_string(), scheme.to_string(), id.public.to_string(), describe(floors)]
        });
        table(["TYPE", "SCHEME", "PUBLIC KEY", "SIGNS"], rows)
    }

    /// The set as text for the terminal.
    pub fn describe(&self) -> String {
        let proof = match &self.ownership_proof {
            Some(proof) => format!("Ownership proof, in this order:\n  {proof}"),
            None => "No ownership proof: that of a key made elsewhere is missing.".to_owned(),
        };
        format!(
            "{}\nSession keys, in this order, for `session.setKeys`:\n  {}\n{proof}",
            self.describe_keys(),
            self.session_keys
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_substrate::{BABE, GRANDPA};

    #[test]
    fn a_set_has_the_order_of_the_runtime_with_what_is_made_elsewhere_at_its_place() {
        let order = ["gran", "asgn", "babe"].map(str::to_owned);
        let text = format!("asgn:0x{}", "07".repeat(32));
        let theirs: Elsewhere = text.parse().unwrap();
        let made = entries(&order, std::slice::from_ref(&theirs)).unwrap();
        let expected = [Entry::Ours(GRANDPA), Entry::Theirs(theirs.clone()), Entry::Ours(BABE)];
        assert_eq!(made, expected);
        assert!(entries(&order, &[]).unwrap_err().to_string().contains("--elsewhere asgn:0xPUBLIC:0xPROOF"));
        assert!(entries(&order[..1], &[theirs]).unwrap_err().to_string().contains("does not have"));
        let twice = ["gran", "gran"].map(str::to_owned);
        assert!(entries(&twice, &[]).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn keys_from_elsewhere_are_types_and_public_keys_with_or_without_a_proof() {
        let public = format!("0x{}", "07".repeat(32));
        assert_eq!(format!("asgn:{public}").parse::<Elsewhere>().unwrap().proof, None);
        let with = format!("asgn:{public}:0x{}", "08".repeat(64)).parse::<Elsewhere>().unwrap();
        assert_eq!(with.proof.unwrap().0, [8; 64]);
        for wrong in ["asgn", "asgn:", "asgn:0x07", "as:0x07", &format!("asgn:{public}:0x1:0x2")] {
            assert!(wrong.parse::<Elsewhere>().is_err(), "{wrong}");
        }
    }
}
