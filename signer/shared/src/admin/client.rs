//! Asks a node's admin API, over its unix socket or over HTTPS with an admin certificate.
//!
//! Each call has a connection of its own: operators are not in a hurry, and no call meets a dead connection. Used by
//! the CLI, by `dev` and by tests.

use super::api::{
    AdminError, AdminErrorCode, AdminErrorData, AdminStatus, BackupAnswer, ClientRow, DocumentInfo, KeyRow,
    MemberRow, OfficersReport,
};
use crate::{
    audit::query::{AuditPage, AuditQuery},
    config::TlsFiles,
    http::{HttpClient, HttpError, Limits},
    overview::Overview,
    tls::{self, TlsError},
};
use hyper::Uri;
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use signonce_core::{Change, ChangeDone};
use signonce_protocol::{ChainId, HexArray, HexBytes, LogIndex, NodeId};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// The limits of a call.
const LIMITS: Limits = Limits { time: Duration::from_secs(15), bytes: 64 << 20 };
/// How often something that is waited for is checked.
const LOOK: Duration = Duration::from_millis(100);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node could not be reached.
    #[error("cannot reach the admin API at {to}: {why}; is the node running?")]
    Unreachable {
        /// The socket or URL.
        to: String,
        /// Why.
        why: String,
    },
    /// The URL is not of the form that is served.
    #[error("{0:?} is not an admin URL: it must be https://host:port")]
    BadUrl(String),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection broke, or the time ran out, after the request was sent: a change may have been made.
    #[error(
        "no answer from the admin API at {to}: {why}; a change may have been made, look before trying again"
    )]
    NoAnswer {
        /// The socket or URL.
        to: String,
        /// Why.
        why: String,
    },
    /// The answer is not of this protocol.
    #[error("the admin API at {to} answered {what}; is it a signonce node of this version?")]
    NotOurs {
        /// The socket or URL.
        to: String,
        /// What was received.
        what: String,
    },
    /// The change needs two officers and waits for the other one. The command line does not treat this as a failure.
    #[error(
        "nothing was changed yet: proposal {id} waits for another key officer, who approves it with `signonce \
         proposals approve {id}`"
    )]
    Proposed {
        /// The proposal.
        id: LogIndex,
    },
    /// The node refused the request.
    #[error(transparent)]
    Failed(#[from] AdminError),
}

impl CallError {
    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(error) => error.code().exit_code(),
            Self::Proposed { .. } => 0,
            Self::BadUrl(_) => 2,
            Self::NoAnswer { .. } => 3,
            Self::Unreachable { .. } => 4,
            Self::Tls(_) | Self::NotOurs { .. } => 1,
        }
    }
}

/// A client of one node's admin API.
#[derive(Clone)]
pub struct AdminClient {
    http: HttpClient,
    url: Uri,
    /// The socket or URL, for errors.
    to: String,
}

impl AdminClient {
    /// A client over the unix socket of a node on this machine.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        let socket = socket.into();
        let to = socket.display().to_string();
        Self { http: HttpClient::unix(socket), url: Uri::from_static("http://localhost/"), to }
    }

    /// A client over `https://host:port` with the admin certificate and key in `files`.
    ///
    /// # Errors
    /// If the URL or the files cannot be used.
    pub fn https(url: &str, files: &TlsFiles) -> Result<Self, CallError> {
        Self::https_with(url, &tls::client_config(files)?)
    }

    /// A client like that of [`Self::https`], with certificates that were read before.
    ///
    /// # Errors
    /// If the URL is not of the right form.
    pub fn https_with(url: &str, tls: &ClientConfig) -> Result<Self, CallError> {
        let bad = || CallError::BadUrl(url.to_owned());
        let given: Uri = url.parse().map_err(|_| bad())?;
        let (Some("https"), Some(host), Some(port)) = (given.scheme_str(), given.host(), given.port_u16())
        else {
            return Err(bad());
        };
        let to = format!("https://{host}:{port}");
        Ok(Self { http: HttpClient::new(tls.clone()), url: to.parse().map_err(|_| bad())?, to })
    }

    /// This node, and the cluster as it sees it.
    ///
    /// # Errors
    /// As [`Self::call`]; so for every method.
    pub async fn status(&self) -> Result<AdminStatus, CallError> {
        self.call("admin_status", &json!({})).await
    }

    /// Every chain.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn chains(&self) -> Result<Vec<super::api::ChainRow>, CallError> {
        self.call("admin_chains", &json!({})).await
    }

    /// Every key, with its watermarks.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn keys(&self) -> Result<Vec<KeyRow>, CallError> {
        self.call("admin_keys", &json!({})).await
    }

    /// Every client.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn clients(&self) -> Result<Vec<ClientRow>, CallError> {
        self.call("admin_clients", &json!({})).await
    }

    /// Who may operate the cluster, and what waits for a second officer.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn officers(&self) -> Result<OfficersReport, CallError> {
        self.call("admin_officers", &json!({})).await
    }

    /// Every member, with the recipient that keys are sealed to.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn members(&self) -> Result<Vec<MemberRow>, CallError> {
        self.call("admin_members", &json!({})).await
    }

    /// The members as soon as there are `enough` of them, or as they are once `patience` has run out: what a node
    /// announces of itself is in the list a moment after it is ready.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn members_once(
        &self,
        patience: Duration,
        enough: impl Fn(&[MemberRow]) -> bool,
    ) -> Result<Vec<MemberRow>, CallError> {
        let until = Instant::now() + patience;
        loop {
            let rows = self.members().await?;
            if enough(&rows) || Instant::now() >= until {
                return Ok(rows);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The whole cluster, as the node finds it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn overview(&self) -> Result<Overview, CallError> {
        self.call("admin_overview", &json!({})).await
    }

    /// Makes a change of the registry or of a watermark.
    ///
    /// # Errors
    /// As [`Self::call`]; [`CallError::Proposed`] if it waits for another officer.
    pub async fn change(&self, change: &Change) -> Result<ChangeDone, CallError> {
        let done: ChangeDone = self.call("admin_change", &json!({ "change": change })).await?;
        match done.proposed {
            // An error, so that no caller takes it for done.
            Some(id) => Err(CallError::Proposed { id }),
            None => Ok(done),
        }
    }

    /// Audit records, page by page.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, CallError> {
        self.call("admin_audit", &json!({ "query": query })).await
    }

    /// Makes a backup; its state is fetched with [`Self::document`].
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn backup(&self) -> Result<BackupAnswer, CallError> {
        self.call("admin_backup", &json!({})).await
    }

    /// Makes a document of the watermarks of a chain.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn export_watermarks(&self, chain: ChainId, minimal: bool) -> Result<DocumentInfo, CallError> {
        self.call("admin_exportWatermarks", &json!({ "chain": chain, "minimal": minimal })).await
    }

    /// Fetches a document and checks that it is complete.
    ///
    /// # Errors
    /// As [`Self::call`], and if its length or hash is not what the node said.
    pub async fn document(&self, info: &DocumentInfo) -> Result<Vec<u8>, CallError> {
        let mut document = Vec::new();
        while (document.len() as u64) < info.bytes {
            let params = json!({ "id": info.id, "offset": document.len() });
            let piece: HexBytes = self.call("admin_document", &params).await?;
            if piece.0.is_empty() {
                break;
            }
            document.extend_from_slice(&piece.0);
        }
        if HexArray(Sha256::digest(&document).into()) != info.sha256 {
            let what = "a document that is not what it said".to_owned();
            return Err(CallError::NotOurs { to: self.to.clone(), what });
        }
        Ok(document)
    }

    /// Hands leadership over; returns the new leader.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, CallError> {
        self.call("admin_transferLeadership", &json!({ "to": to })).await
    }

    /// Calls any method.
    ///
    /// # Errors
    /// The node cannot be reached, does not answer in 15 s, or refuses.
    pub async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<R, CallError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let to = || self.to.clone();
        match self.http.post_json(&self.url, body, LIMITS).await {
            Ok(answer) => self.read(answer.body()),
            Err(HttpError::NotSent(why)) => Err(CallError::Unreachable { to: to(), why }),
            Err(HttpError::NoAnswer(why)) => Err(CallError::NoAnswer { to: to(), why }),
        }
    }

    fn read<R: DeserializeOwned>(&self, answer: &[u8]) -> Result<R, CallError> {
        #[derive(serde::Deserialize)]
        struct Answer<'a> {
            #[serde(borrow, default)]
            result: Option<&'a RawValue>,
            #[serde(default)]
            error: Option<Failure>,
        }
        #[derive(serde::Deserialize)]
        struct Failure {
            message: String,
            #[serde(default)]
            data: Value,
        }
        let not_ours = |what: String| CallError::NotOurs { to: self.to.clone(), what };
        let shown = || String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        let parsed: Answer<'_> = serde_json::from_slice(answer).map_err(|_| not_ours(shown()))?;
        match (parsed.error, parsed.result) {
            (Some(Failure { message, data }), _) => {
                Err(match serde_json::from_value::<AdminErrorData>(data.clone()) {
                    Ok(data) => AdminError { message, data: Box::new(data) }.into(),
                    // JSON-RPC's own errors: a method or parameter that this node does not know.
                    Err(_) => AdminError::new(AdminErrorCode::Invalid, detailed(message, &data)).into(),
                })
            }
            // `null` is an answer too, but of no admin method.
            (None, Some(result)) => {
                serde_json::from_str(result.get()).map_err(|e| not_ours(format!("{} ({e})", shown())))
            }
            (None, None) => Err(not_ours(shown())),
        }
    }
}

fn detailed(message: String, data: &Value) -> String {
    match data {
        Value::String(detail) => format!("{message}: {detail}"),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<NodeId, CallError> {
        AdminClient::unix("/none").read(answer.as_bytes())
    }

    #[test]
    fn answers_and_errors_are_told_apart() {
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":3}"#).unwrap(), NodeId(3));
        for (answer, exit) in [
            (r#"{"error":{"code":2001,"message":"no","data":{"code":"refused"}}}"#, 1),
            (r#"{"error":{"code":2004,"message":"no","data":{"code":"notReady"}}}"#, 4),
            (r#"{"error":{"code":2005,"message":"no","data":{"code":"unknownOutcome"}}}"#, 3),
            (r#"{"error":{"code":-32602,"message":"Invalid params","data":"missing field"}}"#, 2),
            (r#"{"result":"three"}"#, 1),
            ("<html>", 1),
        ] {
            assert_eq!(read(answer).unwrap_err().exit_code(), exit, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_not_ready() {
        let error = AdminClient::unix("/nonexistent/admin.sock").status().await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("is the node running?"), "{error}");
    }
}
