//! Certificates for trials: an authority and what it issues, kept as Secrets, made by a job before the pods start.
//!
//! Whatever is there already is left as it is, so the job may run at every upgrade; it adds what new members need, and
//! gives an ordinal with another member another certificate. The
//! authority's private key stays in the namespace, which is why this is for trials: who reads Secrets there can issue
//! an admin certificate.

use super::api::{ApiError, KubeApi};
use crate::certs::{Authority, CA_CERTIFICATE, CA_KEY, CERTIFICATE_DAYS, CertsError, Subject};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{fs, io, path::Path};

/// The annotation that says whose certificate is in a Secret.
const SUBJECT: &str = "signonce.io/subject";

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The Kubernetes API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The authority.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// The scratch directory.
    #[error("cannot use the scratch directory: {0}")]
    Scratch(#[from] io::Error),
    /// A Secret of ours that is not as we make it.
    #[error(
        "secret {secret} has no usable {field}: delete it to have it made anew, or bring your own certificates"
    )]
    Secret {
        /// The Secret.
        secret: String,
        /// The field.
        field: &'static str,
    },
}

/// What is wanted: the name of a Secret and whose certificate is in it.
pub type Wanted = (String, Subject);

/// Makes the authority and the certificates that are not there yet; answers the names of the Secrets it made.
///
/// # Errors
/// Any [`TrialError`]; what was made before stays.
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
    let (issuer, ca) = match api.get(&format!("{collection}/{authority}")).await? {
        Some(secret) => (reopen(&secret, authority, scratch.path())?, field(&secret, authority, "ca.crt")?),
        None => {
            let issuer = Authority::create(scratch.path())?;
            let ca = fs::read(scratch.path().join(CA_CERTIFICATE))?;
            let key = fs::read(scratch.path().join(CA_KEY))?;
            let data = json!({ "ca.crt": STANDARD.encode(&ca), "ca.key": STANDARD.encode(key) });
            api.create(&collection, &secret(authority, "Opaque", labels, &data)).await?;
            made.push(authority.to_owned());
            (issuer, ca)
        }
    };
    for (name, subject) in wanted {
        let path = format!("{collection}/{name}");
        let there = api.get(&path).await?;
        let stem = subject.stem();
        if there.as_ref().is_some_and(|secret| secret["metadata"]["annotations"][SUBJECT] == *stem) {
            continue;
        }
        let issued = issuer.issue(scratch.path(), subject, CERTIFICATE_DAYS)?;
        let data = json!({
            "ca.crt": STANDARD.encode(&ca),
            "tls.crt": STANDARD.encode(fs::read(issued.cert)?),
            "tls.key": STANDARD.encode(fs::read(issued.key)?),
        });
        let annotations = json!({ SUBJECT: stem });
        if there.is_some() {
            api.merge(&path, &json!({ "metadata": { "annotations": annotations }, "data": data })).await?;
        } else {
            let mut secret = secret(name, "kubernetes.io/tls", labels, &data);
            secret["metadata"]["annotations"] = annotations;
            api.create(&collection, &secret).await?;
        }
        made.push(name.clone());
    }
    Ok(made)
}

fn secret(name: &str, kind: &str, labels: &Value, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": { "name": name, "labels": labels },
    })
}

fn reopen(secret: &Value, name: &str, scratch: &Path) -> Result<Authority, TrialError> {
    fs::write(scratch.join(CA_CERTIFICATE), field(secret, name, "ca.crt")?)?;
    fs::write(scratch.join(CA_KEY), field(secret, name, "ca.key")?)?;
    Ok(Authority::open(scratch)?)
}

fn field(secret: &Value, name: &str, field: &'static str) -> Result<Vec<u8>, TrialError> {
    let text = secret["data"][field].as_str().and_then(|text| STANDARD.decode(text).ok());
    text.ok_or_else(|| TrialError::Secret { secret: name.to_owned(), field })
}
