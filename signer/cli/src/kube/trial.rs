//! Certificates for trials: an authority and what it issues, kept as Secrets, made by a job before the pods start.
//!
//! Existing Secrets are left as they are, so the job may run at every upgrade; it adds what new members need, and gives
//! an ordinal with another member another certificate. A Secret that somebody else made under one of these names is
//! never changed and never used: the job says what it found and stops. The authority's private key stays in the
//! namespace, which is why this is for trials: whoever reads Secrets there can issue an admin certificate.

use super::api::{ApiError, KubeApi};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use signonce_shared::certs::{
    Authority, CA_CERTIFICATE, CA_KEY, CERTIFICATE_DAYS, CertsError, Subject, write_new,
};
use std::{fs, io, path::Path};
use zeroize::Zeroizing;

/// The annotation that names the subject of the certificate in a Secret.
const SUBJECT: &str = "signonce.io/subject";

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// An error of the Kubernetes API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An error of the authority.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// The scratch directory cannot be used.
    #[error("cannot use the scratch directory: {0}")]
    Scratch(#[from] io::Error),
    /// A Secret has one of our names, but was not made by this job.
    #[error(
        "the Secret {secret} is there already and is none that this job made: it has {found}, and {why}. It was left as \
         it is, and nothing was issued. If it is yours, bring your own certificates (tls.mode=existing, or certManager), \
         or give the signers another name (fullnameOverride). If nobody needs it any more, delete it and run this again"
    )]
    Foreign {
        /// The Secret.
        secret: String,
        /// The names of its fields.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// A Secret was made by somebody else while this ran.
    #[error(
        "the Secret {0} came into being while this job was about to make it, perhaps by another run of it. What is there \
         was left as it is; run this again, and it uses that one if it can"
    )]
    Meanwhile(String),
}

/// A certificate to make: the name of its Secret and its subject.
pub type Wanted = (String, Subject);

/// Makes the authority and the certificates that do not exist yet; returns the names of the Secrets it made.
///
/// # Errors
/// Any [`TrialError`]. A foreign Secret stops it before anything is made; if one appears later, what was made stays.
pub async fn make(
    api: &KubeApi,
    namespace: &str,
    labels: &Value,
    authority: &str,
    wanted: &[Wanted],
) -> Result<Vec<String>, TrialError> {
    let collection = format!("/api/v1/namespaces/{namespace}/secrets");
    let scratch = tempfile::tempdir()?;
    let mut made = Vec::new();
    let mut there = Vec::new();
    for (name, subject) in wanted {
        there.push(ours(name, subject, api.get(&format!("{collection}/{name}")).await?)?);
    }
    let (issuer, ca) = match api.get(&format!("{collection}/{authority}")).await? {
        Some(secret) => (reopen(&secret, authority, scratch.path())?, field(&secret, authority, "ca.crt")?),
        None => {
            let issuer = Authority::create(scratch.path())?;
            let ca = fs::read(scratch.path().join(CA_CERTIFICATE))?;
            let key = Zeroizing::new(fs::read(scratch.path().join(CA_KEY))?);
            let data = json!({ "ca.crt": STANDARD.encode(&ca), "ca.key": STANDARD.encode(&key) });
            create(api, &collection, &secret(authority, "Opaque", labels, &data)).await?;
            made.push(authority.to_owned());
            (issuer, ca)
        }
    };
    for ((name, subject), there) in wanted.iter().zip(there) {
        if there == There::AsWanted {
            continue;
        }
        let stem = subject.stem();
        let issued = issuer.issue(scratch.path(), subject, CERTIFICATE_DAYS)?;
        let data = json!({
            "ca.crt": STANDARD.encode(&ca),
            "tls.crt": STANDARD.encode(fs::read(issued.cert)?),
            "tls.key": STANDARD.encode(Zeroizing::new(fs::read(issued.key)?)),
        });
        let annotations = json!({ SUBJECT: stem });
        if there == There::OfAnother {
            let patch = json!({ "metadata": { "annotations": annotations }, "data": data });
            api.merge(&format!("{collection}/{name}"), &patch).await?;
        } else {
            let mut secret = secret(name, "kubernetes.io/tls", labels, &data);
            secret["metadata"]["annotations"] = annotations;
            create(api, &collection, &secret).await?;
        }
        made.push(name.clone());
    }
    Ok(made)
}

/// What exists under the name of a certificate's Secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    AsWanted,
    /// Made by this job for an earlier member.
    OfAnother,
}

fn ours(name: &str, subject: &Subject, secret: Option<Value>) -> Result<There, TrialError> {
    let Some(secret) = secret else { return Ok(There::Nothing) };
    match secret["metadata"]["annotations"][SUBJECT].as_str() {
        Some(stem) if stem == subject.stem() => Ok(There::AsWanted),
        Some(_) => Ok(There::OfAnother),
        None => {
            Err(foreign(&secret, name, format!("no annotation {SUBJECT}, which this job's Secrets carry")))
        }
    }
}

/// Only if nothing existed before: a Secret that somebody else made meanwhile must not be used unread.
async fn create(api: &KubeApi, collection: &str, secret: &Value) -> Result<(), TrialError> {
    if api.create(collection, secret).await? {
        return Ok(());
    }
    Err(TrialError::Meanwhile(secret["metadata"]["name"].as_str().unwrap_or_default().to_owned()))
}

fn secret(name: &str, kind: &str, labels: &Value, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": { "name": name, "labels": labels },
    })
}

fn reopen(secret: &Value, name: &str, scratch: &Path) -> Result<Authority, TrialError> {
    fs::write(scratch.join(CA_CERTIFICATE), field(secret, name, "ca.crt")?)?;
    write_new(&scratch.join(CA_KEY), &Zeroizing::new(field(secret, name, "ca.key")?), 0o600)?;
    Authority::open(scratch)
        .map_err(|_| foreign(secret, name, "ca.crt and ca.key are not an authority and its key".into()))
}

fn field(secret: &Value, name: &str, field: &'static str) -> Result<Vec<u8>, TrialError> {
    let text = secret["data"][field].as_str().and_then(|text| STANDARD.decode(text).ok());
    text.ok_or_else(|| {
        foreign(secret, name, format!("no usable {field}, which an authority of this job has"))
    })
}

/// Lists field names, never their content.
fn foreign(secret: &Value, name: &str, why: String) -> TrialError {
    let fields: Vec<&str> =
        secret["data"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let found =
        if fields.is_empty() { "no data".into() } else { format!("the fields {}", fields.join(", ")) };
    TrialError::Foreign { secret: name.to_owned(), found, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::made_up::MadeUp;
    use crate::kube::made_up::object;
    use signonce_protocol::NodeId;

    const SECRETS: &str = "/api/v1/namespaces/signers/secrets";

    fn wanted(node: u64) -> Vec<Wanted> {
        let cluster = "00112233445566778899aabbccddeeff".parse().unwrap();
        let hosts = vec!["s-0.peers".to_owned()];
        vec![
            ("s-admin".into(), Subject::Admin("s".into())),
            ("s-tls-0".into(), Subject::Node { cluster, node: NodeId(node), hosts }),
        ]
    }

    async fn run(world: &MadeUp, node: u64) -> Result<Vec<String>, TrialError> {
        make(&world.api(), "signers", &json!({}), "s-ca", &wanted(node)).await
    }

    #[tokio::test]
    async fn certificates_are_made_once_and_anew_for_another_member() {
        let world = MadeUp::start().await;
        assert_eq!(run(&world, 1).await.unwrap(), ["s-ca", "s-admin", "s-tls-0"]);
        let (first, authority) = (world.at(SECRETS, "s-tls-0"), world.at(SECRETS, "s-ca"));
        assert!(run(&world, 1).await.unwrap().is_empty());
        assert_eq!(world.at(SECRETS, "s-tls-0"), first, "a second run changes nothing");
        assert_eq!(run(&world, 70).await.unwrap(), ["s-tls-0"]);
        let other = world.at(SECRETS, "s-tls-0");
        assert_eq!(other["metadata"]["annotations"][SUBJECT], "node-70");
        assert_ne!(other["data"]["tls.crt"], first["data"]["tls.crt"]);
        assert_eq!(other["data"]["ca.crt"], authority["data"]["ca.crt"]);
        assert_eq!(world.at(SECRETS, "s-ca"), authority);
    }

    /// As cert-manager would leave one: the key is under another name.
    #[tokio::test]
    async fn an_authority_of_somebody_else_is_neither_used_nor_overwritten() {
        let world = MadeUp::start().await;
        let theirs = json!({ "tls.crt": STANDARD.encode("cert"), "tls.key": STANDARD.encode("hush"), "ca.crt": STANDARD.encode("cert") });
        world.put(SECRETS, "s-ca", secret("s-ca", "kubernetes.io/tls", &json!({}), &theirs));
        let error = run(&world, 1).await.unwrap_err().to_string();
        for part in [
            "s-ca is there already",
            "ca.crt, tls.crt, tls.key",
            "no usable ca.key",
            "tls.mode=existing",
            "fullnameOverride",
        ] {
            assert!(error.contains(part), "{part:?} is missing: {error}");
        }
        assert!(!error.contains("hush") && !error.contains(&STANDARD.encode("hush")), "{error}");
        assert_eq!(world.at(SECRETS, "s-ca")["data"], theirs);
        assert_eq!(world.names(SECRETS), ["s-ca"], "nothing was issued");
    }

    #[tokio::test]
    async fn a_key_that_is_not_the_authoritys_is_noticed() {
        let world = MadeUp::start().await;
        run(&world, 1).await.unwrap();
        let other = MadeUp::start().await;
        run(&other, 1).await.unwrap();
        let mut mixed = world.at(SECRETS, "s-ca");
        mixed["data"]["ca.key"] = other.at(SECRETS, "s-ca")["data"]["ca.key"].clone();
        world.put(SECRETS, "s-ca", mixed);
        let error = run(&world, 2).await.unwrap_err();
        assert!(matches!(error, TrialError::Foreign { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_certificate_that_somebody_brought_is_not_overwritten() {
        let world = MadeUp::start().await;
        let theirs = json!({ "tls.crt": STANDARD.encode("cert"), "tls.key": STANDARD.encode("key") });
        world.put(SECRETS, "s-tls-0", secret("s-tls-0", "kubernetes.io/tls", &json!({}), &theirs));
        let error = run(&world, 1).await.unwrap_err().to_string();
        assert!(error.contains("s-tls-0 is there already") && error.contains("tls.mode=existing"), "{error}");
        assert_eq!(world.at(SECRETS, "s-tls-0")["data"], theirs);
        assert_eq!(world.names(SECRETS), ["s-tls-0"], "nothing was issued");
    }

    /// Two runs at once: the second must not issue with an authority that nobody else knows.
    #[tokio::test]
    async fn an_authority_that_came_into_being_meanwhile_is_not_passed_over() {
        let world = MadeUp::start().await;
        world.on_create(|_, name, objects| {
            if name == "s-ca" {
                objects.insert(object(SECRETS, "s-ca"), json!({ "data": {} }));
            }
        });
        let error = run(&world, 1).await.unwrap_err();
        assert!(matches!(&error, TrialError::Meanwhile(name) if name == "s-ca"), "{error}");
        assert_eq!(world.names(SECRETS), ["s-ca"], "nothing was issued");
    }
}
