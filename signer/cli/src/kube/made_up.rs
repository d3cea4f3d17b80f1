//! A made-up Kubernetes API for tests: objects by their path, over TLS as the real one, with a token that it wants to see.

use super::api::KubeApi;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, version::TLS13};
use serde_json::{Value, json};
use signonce_protocol::NodeId;
use signonce_shared::{
    certs::{Authority, CA_CERTIFICATE, CERTIFICATE_DAYS, Subject},
    config::TlsFiles,
    tls::{Credentials, leaf::Role},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "the-token";

/// Every object by its path.
pub(super) type Objects = BTreeMap<String, Value>;
/// What happens when something is asked of the API: its path, the name, and all objects.
type Hook = Box<dyn Fn(&str, &str, &mut Objects) + Send>;

/// The path of an object.
pub(super) fn object(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

#[derive(Default)]
struct World {
    objects: Objects,
    /// Before an object is created.
    on_create: Option<Hook>,
    /// Instead of an eviction or deletion of a pod; without it the object goes.
    on_gone: Option<Hook>,
    /// How often an eviction is to be refused, for the budget's sake.
    budget_refuses: u32,
    /// `evict NAME`, `delete NAME`, in their order.
    done: Vec<String>,
}

/// The server; it ends with its runtime.
pub(super) struct MadeUp {
    world: Arc<Mutex<World>>,
    port: u16,
    account: TempDir,
}

impl MadeUp {
    pub(super) async fn start() -> Self {
        let account = tempfile::tempdir().unwrap();
        let dir = account.path();
        let cluster = "00112233445566778899aabbccddeeff".parse().unwrap();
        let subject = Subject::Node { cluster, node: NodeId(1), hosts: vec!["localhost".into()] };
        let issued = Authority::create(dir).unwrap().issue(dir, &subject, CERTIFICATE_DAYS).unwrap();
        fs::copy(dir.join(CA_CERTIFICATE), dir.join("ca.crt")).unwrap();
        fs::write(dir.join("token"), TOKEN).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
        let files = TlsFiles { ca: dir.join(CA_CERTIFICATE), cert: issued.cert, key: issued.key };
        let Credentials { chain, key, .. } = Credentials::read(&files, Role::Node).unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let world: Arc<Mutex<World>> = Arc::default();
        let served = world.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, world) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(world.clone(), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { world, port, account }
    }

    pub(super) fn api(&self) -> KubeApi {
        KubeApi::new("localhost".into(), self.port, self.account.path().to_owned()).unwrap()
    }

    fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.world.lock().unwrap())
    }

    pub(super) fn put(&self, collection: &str, name: &str, value: Value) {
        self.world(|world| world.objects.insert(object(collection, name), value));
    }

    pub(super) fn remove(&self, collection: &str, name: &str) {
        self.world(|world| world.objects.remove(&object(collection, name)));
    }

    pub(super) fn at(&self, collection: &str, name: &str) -> Value {
        self.world(|world| world.objects[&object(collection, name)].clone())
    }

    pub(super) fn names(&self, collection: &str) -> Vec<String> {
        let below = format!("{collection}/");
        self.world(|world| {
            world.objects.keys().filter_map(|path| Some(path.strip_prefix(&below)?.into())).collect()
        })
    }

    pub(super) fn on_create(&self, hook: impl Fn(&str, &str, &mut Objects) + Send + 'static) {
        self.world(|world| world.on_create = Some(Box::new(hook)));
    }

    pub(super) fn on_gone(&self, hook: impl Fn(&str, &str, &mut Objects) + Send + 'static) {
        self.world(|world| world.on_gone = Some(Box::new(hook)));
    }

    pub(super) fn budget_refuses(&self, times: u32) {
        self.world(|world| world.budget_refuses = times);
    }

    pub(super) fn done(&self) -> Vec<String> {
        self.world(|world| world.done.clone())
    }
}

async fn answer(
    world: Arc<Mutex<World>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let known =
        head.headers.get(header::AUTHORIZATION).is_some_and(|told| *told == format!("Bearer {TOKEN}"));
    let (status, answer) = if known {
        world.lock().unwrap().answer(&head.method, head.uri.path(), &body)
    } else {
        (StatusCode::UNAUTHORIZED, json!({ "message": "who are you?" }))
    };
    let answer = Full::new(Bytes::from(answer.to_string()));
    Ok(Response::builder().status(status).body(answer).unwrap())
}

impl World {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let missing = || (StatusCode::NOT_FOUND, json!({ "message": format!("{path} not found") }));
        if let Some(pod) = path.strip_suffix("/eviction") {
            return self.evict(pod, body);
        }
        match *method {
            Method::GET => {
                self.objects.get(path).map_or_else(missing, |found| (StatusCode::OK, found.clone()))
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                if let Some(hook) = self.on_create.take() {
                    hook(path, name, &mut self.objects);
                    self.on_create = Some(hook);
                }
                if self.objects.contains_key(&object(path, name)) {
                    return (StatusCode::CONFLICT, json!({ "message": "it already exists" }));
                }
                self.objects.insert(object(path, name), body.clone());
                (StatusCode::CREATED, body.clone())
            }
            Method::PATCH => match self.objects.get_mut(path) {
                Some(there) => {
                    merge(there, body);
                    (StatusCode::OK, there.clone())
                }
                None => missing(),
            },
            Method::DELETE if self.objects.contains_key(path) => self.goes(path, "delete", body),
            _ => missing(),
        }
    }

    fn evict(&mut self, pod: &str, body: &Value) -> (StatusCode, Value) {
        if self.budget_refuses > 0 {
            self.budget_refuses -= 1;
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            return (StatusCode::TOO_MANY_REQUESTS, json!({ "message": message }));
        }
        assert_eq!(body["kind"], "Eviction", "{body}");
        self.goes(pod, "evict", &body["deleteOptions"])
    }

    fn goes(&mut self, path: &str, how: &str, options: &Value) -> (StatusCode, Value) {
        let Some(there) = self.objects.get(path) else {
            return (StatusCode::NOT_FOUND, json!({ "message": "it is not there" }));
        };
        if there["metadata"]["uid"] != options["preconditions"]["uid"] {
            return (StatusCode::CONFLICT, json!({ "message": "the uid is another" }));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        self.done.push(format!("{how} {name}"));
        match self.on_gone.take() {
            Some(hook) => {
                hook(path, name, &mut self.objects);
                self.on_gone = Some(hook);
            }
            None => drop(self.objects.remove(path)),
        }
        (StatusCode::OK, json!({}))
    }
}

/// A JSON merge patch.
fn merge(there: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *there = patch.clone();
        return;
    };
    if !there.is_object() {
        *there = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            there.as_object_mut().map(|fields| fields.remove(name));
        } else {
            merge(&mut there[name], value);
        }
    }
}
