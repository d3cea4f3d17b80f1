//! The few calls to the Kubernetes API that jobs of the chart make: read, create, patch and delete one named object,
//! and evict a pod.
//!
//! Server, token and authority are those of the pod's service account. The token is read for each call, since the
//! kubelet renews the file.

use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use signonce_shared::http::{HttpClient, Limits, trusting};
use std::{env, fs, path::PathBuf, time::Duration};

/// The directory where the kubelet puts the service account's files.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The limits of a call. None of our objects comes near that many bytes.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 4 << 20 };

/// Why the Kubernetes API could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Not in a pod, or in one without a service account token.
    #[error(
        "{what} is missing: this command runs in a pod of the chart, with its service account's token ({why})"
    )]
    NotInAPod {
        /// What is missing.
        what: String,
        /// Why it is not available.
        why: String,
    },
    /// It cannot be reached.
    #[error("the Kubernetes API at {host}:{port} cannot be reached: {why}")]
    Unreachable {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Why.
        why: String,
    },
    /// It refuses the call.
    #[error(
        "the Kubernetes API refuses to {method} {path}: {status}, {message}; look at the role of the service account"
    )]
    Refused {
        /// The HTTP method.
        method: Method,
        /// The object.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// Its message.
        message: String,
    },
}

/// The result of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The pod is going, or is gone.
    Goes,
    /// The disruption budget does not allow it at the moment; with the API's message.
    NotNow(String),
}

/// The Kubernetes API, as the service account of this pod.
pub struct KubeApi {
    host: String,
    port: u16,
    http: HttpClient,
    account: PathBuf,
}

impl KubeApi {
    /// The API, with the files that the kubelet gives every pod with a service account.
    ///
    /// # Errors
    /// [`ApiError::NotInAPod`].
    pub fn in_pod() -> Result<Self, ApiError> {
        let missing = |what: &str, why: String| ApiError::NotInAPod { what: what.into(), why };
        let variable = |name: &str| env::var(name).map_err(|e| missing(name, e.to_string()));
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let port = port
            .parse()
            .map_err(|_| missing("KUBERNETES_SERVICE_PORT", format!("{port:?} is not a port")))?;
        Self::new(host, port, PathBuf::from(ACCOUNT))
    }

    /// The API at this address, with an account's files: `token` and `ca.crt`.
    pub(super) fn new(host: String, port: u16, account: PathBuf) -> Result<Self, ApiError> {
        let missing = |what: &str, why: String| ApiError::NotInAPod { what: what.into(), why };
        let ca = account.join("ca.crt");
        let unusable = |why: String| missing(&ca.display().to_string(), why);
        let http = HttpClient::new(trusting(Some(&ca)).map_err(unusable)?);
        Ok(Self { host, port, http, account })
    }

    /// Creates an object in a collection; returns whether it was created or existed before.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn create(&self, collection: &str, object: &Value) -> Result<bool, ApiError> {
        match self.call(Method::POST, collection, "application/json", Some(object)).await {
            Ok(_) => Ok(true),
            Err(ApiError::Refused { status: StatusCode::CONFLICT, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The object, if it is there.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.call(Method::GET, path, "application/json", None).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Merges `patch` into an object.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        self.call(Method::PATCH, path, "application/merge-patch+json", Some(patch)).await.map(drop)
    }

    /// Asks for a pod to be stopped, which the API does only while the disruption budget allows it. `uid` tells which
    /// pod of this name is meant.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn evict(&self, namespace: &str, pod: &str, uid: &str) -> Result<Eviction, ApiError> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let eviction = json!({
            "apiVersion": self.eviction_version().await?,
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": namespace },
            "deleteOptions": { "preconditions": { "uid": uid } },
        });
        match self.call(Method::POST, &path, "application/json", Some(&eviction)).await {
            Ok(_) => Ok(Eviction::Goes),
            Err(ApiError::Refused { status: StatusCode::TOO_MANY_REQUESTS, message, .. }) => {
                Ok(Eviction::NotNow(message))
            }
            // It is gone, or there is another pod with this name.
            Err(ApiError::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. }) => {
                Ok(Eviction::Goes)
            }
            Err(error) => Err(error),
        }
    }

    /// The version of evictions, which differs before Kubernetes 1.22.
    async fn eviction_version(&self) -> Result<String, ApiError> {
        let known = self.get("/api/v1").await?.unwrap_or_default();
        let mut resources = known["resources"].as_array().into_iter().flatten();
        let found = resources.find(|resource| resource["name"] == "pods/eviction");
        let version = found.and_then(|resource| resource["version"].as_str()).unwrap_or("v1");
        Ok(format!("policy/{version}"))
    }

    /// Deletes the object that has this uid; succeeds if it is gone.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub async fn delete(&self, path: &str, uid: &str) -> Result<(), ApiError> {
        let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        match self.call(Method::DELETE, path, "application/json", Some(&options)).await {
            Ok(_) | Err(ApiError::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let request = self.request(method.clone(), path, content, body)?;
        let unreachable =
            |why: String| ApiError::Unreachable { host: self.host.clone(), port: self.port, why };
        let answered = self.http.send(request, LIMITS).await.map_err(|e| unreachable(e.to_string()))?;
        let status = answered.status();
        let answer: Value = serde_json::from_slice(answered.body()).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        // The API's message says which verb on which object is missing; it never repeats what was sent.
        let message = answer["message"].as_str().unwrap_or("it does not say why").to_owned();
        Err(ApiError::Refused { method, path: path.to_owned(), status, message })
    }

    fn url(&self, path: &str) -> String {
        let Self { host, port, .. } = self;
        // An IPv6 address stands in brackets.
        if host.contains(':') {
            format!("https://[{host}]:{port}{path}")
        } else {
            format!("https://{host}:{port}{path}")
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        let file = self.account.join("token");
        let missing = |why: String| ApiError::NotInAPod { what: file.display().to_string(), why };
        let token = fs::read_to_string(&file).map_err(|e| missing(e.to_string()))?;
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        Request::builder()
            .method(method)
            .uri(self.url(path))
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(header::CONTENT_TYPE, content)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|e| missing(e.to_string()))
    }
}
