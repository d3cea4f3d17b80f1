//! `signonce.toml`: the settings of a node about itself, its cluster and its listeners.
//!
//! [`Config::load`] merges three layers, later ones win: the file, the environment (`SIGNONCE_<SECTION>_<KEY>` for
//! every setting) and overrides from the command line (`section.key=value`). The result is checked as a whole before
//! anything starts: an unknown name is an error that suggests the nearest known one. Relative paths are taken from the
//! directory of the file (or the working directory when there is no file).

mod load;

pub use load::Loaded;

use hyper::Uri;
use serde::Deserialize;
use signonce_core::{DEFAULT_SLOT_TOLERANCE, MAX_SLOT_TOLERANCE};
use signonce_keys::PassphraseSource;
use signonce_protocol::NodeId;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the configuration is read from when neither `--config` nor `SIGNONCE_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/signonce/signonce.toml";

/// The file in the data directory that holds the node's sealed identity.
pub const IDENTITY_FILE: &str = "identity.age";

/// The file in the data directory that exists while `signonce join` is not finished.
pub const JOINING_FILE: &str = "JOINING";

/// The whole configuration of a node, already checked: see [`Config::load`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: NodeSection,
    /// The cluster it belongs to.
    pub cluster: ClusterSection,
    /// Where it listens.
    #[serde(default)]
    pub listen: ListenSection,
    /// Its certificate and who it trusts.
    pub tls: TlsFiles,
    /// Deadlines and bounds.
    #[serde(default)]
    pub limits: LimitsSection,
    /// How it logs.
    #[serde(default)]
    pub log: LogSection,
    /// How long it keeps audit records.
    #[serde(default)]
    pub audit: AuditSection,
    /// The backups it makes by itself.
    #[serde(default)]
    pub backup: BackupSection,
    /// Where it sends traces.
    #[serde(default)]
    pub telemetry: TelemetrySection,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// The node's id: one of the members', never used by another machine before.
    pub id: NodeId,
    /// The directory of the store, the node's identity files and, by default, the admin socket.
    pub data_dir: PathBuf,
    /// The file with the passphrase of the node's sealed identity. Without it the credential `signonce-unlock` is read
    /// from `$CREDENTIALS_DIRECTORY`.
    #[serde(default)]
    pub unlock_file: Option<PathBuf>,
    /// The zone of the node: a data centre, a rack, whatever fails together. The leader can be pinned to a zone.
    #[serde(default)]
    pub zone: Option<String>,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// The cluster's id: 32 hex digits, made once by `signonce init`.
    pub id: String,
    /// Every member, this node included.
    pub members: Vec<MemberSection>,
}

/// `[[cluster.members]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSection {
    /// The member's id.
    pub id: NodeId,
    /// Its address for other members: `host:port`.
    pub peer: String,
    /// Its URL for clients: `https://host:port`.
    pub client_url: String,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// For the other members.
    pub peer: SocketAddr,
    /// For clients: HTTPS and WSS.
    pub client: SocketAddr,
    /// For operators: HTTPS with an admin certificate.
    pub admin: SocketAddr,
    /// For operators on this machine: a unix socket, by default `admin.sock` in the data directory.
    pub admin_socket: Option<PathBuf>,
    /// `/livez`, `/readyz` and `/metrics`, plain HTTP: loopback unless the network is trusted.
    pub metrics: SocketAddr,
}

impl Default for ListenSection {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            peer: any(7300),
            client: any(7301),
            admin: here(7302),
            admin_socket: None,
            metrics: here(7303),
        }
    }
}

/// `[tls]`: also what the CLI uses to reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM: the authorities whose certificates are accepted from members, clients and admins.
    pub ca: PathBuf,
    /// PEM: this node's certificate, with its chain.
    pub cert: PathBuf,
    /// PEM: the private key of that certificate.
    pub key: PathBuf,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// How long a request waits for the cluster before the answer is `unknownOutcome`, in milliseconds.
    pub request_timeout_ms: u64,
    /// How many slots a slot may be from this node's clock, in either direction: at most [`MAX_SLOT_TOLERANCE`].
    pub slot_tolerance: u64,
    /// Bytes of log kept for followers that lag; a follower further behind receives a snapshot.
    pub log_bytes_max: usize,
    /// The most connections of clients at a time. One client may have an eighth of them; connections that have not
    /// shown a certificate yet, admins and peers are counted separately.
    pub connections_max: u32,
    /// How long a stopping node waits for requests in flight, in milliseconds.
    pub drain_ms: u64,
    /// The raft tick, in milliseconds. An election starts after at least ten ticks without a leader.
    pub tick_ms: u64,
    /// How long another voter must be clearly faster before the leader hands over to it, in milliseconds.
    pub leader_moves_after_ms: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            request_timeout_ms: 2_000,
            slot_tolerance: DEFAULT_SLOT_TOLERANCE,
            log_bytes_max: 4 << 20,
            connections_max: 1_024,
            drain_ms: 10_000,
            tick_ms: 50,
            leader_moves_after_ms: 300_000,
        }
    }
}

impl LimitsSection {
    /// The request timeout.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// The drain time.
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// How long another voter must be clearly faster before the leader hands over to it.
    pub const fn leader_moves_after(&self) -> Duration {
        Duration::from_millis(self.leader_moves_after_ms)
    }

    /// The raft tick.
    pub const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// One JSON object a line, or readable text.
    pub format: LogFormat,
    /// A level (`info`), or directives per module (`info,signonce_cluster=debug`).
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into() }
    }
}

/// `[backup]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSection {
    /// The directory for backups; without it none are made. Best on another disk than the store.
    pub dir: Option<PathBuf>,
    /// The interval, as `30m`, `6h` or `1d`.
    pub every: Every,
    /// How many of this node's backups are kept; older ones are removed.
    pub keep: usize,
}

impl Default for BackupSection {
    fn default() -> Self {
        Self { dir: None, every: Every(Duration::from_secs(6 * 3_600)), keep: 28 }
    }
}

/// `[telemetry]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// `http://host:port` of an OpenTelemetry collector, for traces of sign requests; without it none are made.
    pub otlp: Option<String>,
}

impl TelemetrySection {
    /// The collector that traces go to, if any.
    pub fn collector(&self) -> Option<Collector> {
        self.otlp.as_deref().and_then(Collector::of)
    }
}

/// A collector that takes OTLP over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path at which it takes traces.
    pub path: String,
}

impl Collector {
    /// Reads `http://HOST:PORT`, optionally with the path of a proxy.
    pub fn of(endpoint: &str) -> Option<Self> {
        let rest = endpoint.strip_prefix("http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['?', '#', '@']);
        let path = match path.trim_end_matches('/') {
            "" => "/v1/traces".to_owned(),
            path => format!("/{path}/v1/traces"),
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let collector = Self { host, port, path };
        let Self { host, path, .. } = &collector;
        (!host.is_empty() && plain(host) && plain(path) && collector.try_url().is_some()).then_some(collector)
    }

    /// The URL to which traces are posted.
    pub fn url(&self) -> Uri {
        self.try_url().expect("`of` makes no other")
    }

    fn try_url(&self) -> Option<Uri> {
        let Self { host, port, path } = self;
        // An IPv6 address stands in brackets.
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("http://{host}:{port}{path}").parse().ok()
    }
}

/// A length of time as text: a whole number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Every(pub Duration);

impl TryFrom<String> for Every {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a length of time: write it as 30m, 6h or 1d");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSection {
    /// Records older than this many days are pruned on this node.
    pub keep_days: u64,
    /// Has no effect, but is still read so that older files stay valid: a bound by number let one client push out the
    /// records of all others.
    pub keep_records: Option<u64>,
    /// How often, in seconds, this node signs the chain if something was recorded.
    pub sign_secs: u64,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self { keep_days: 400, keep_records: None, sign_secs: 300 }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Lines of text.
    Text,
}

/// The longest path of the admin socket: what the system allows, less the final zero byte and the suffix that the name
/// has while the socket is made (`server::bind_socket`).
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 108 } else { 104 } - 1 - ".new".len();

/// Why a configuration is not used. Every message names the setting and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {path}: {source}; write one with `signonce init`, or give --config"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("the configuration ({origin}) is not valid: {why}")]
    Invalid {
        /// File, environment variable or override.
        origin: String,
        /// What the parser says.
        why: String,
    },
    /// An unknown setting.
    #[error("there is no setting {name:?}{}", .nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n:?}?")))]
    Unknown {
        /// The name as written, with its section.
        name: String,
        /// The nearest known one, if any is near.
        nearest: Option<String>,
    },
    /// The system allows no socket path of that length.
    #[error(
        "the path of the admin socket, {path}, has {bytes} bytes, and the system takes {SOCKET_PATH_BYTES_MAX} at most: \
         set listen.admin_socket to a shorter one (in /run, for instance), or node.data_dir, which it lies in otherwise"
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Two members with one id.
    #[error("two members have the id {0}: node ids are never shared and never reused")]
    TwoMembersWithOneId(NodeId),
    /// Zero, which is not a node id.
    #[error("0 is not a node id: ids start at 1")]
    ZeroNode,
    /// Two members at one address.
    #[error("two members have the address {0:?}")]
    TwoMembersAtOneAddress(String),
    /// This node is not among the members.
    #[error("node.id is {node}, but cluster.members has only {members}")]
    NotAMember {
        /// This node.
        node: NodeId,
        /// The ids of the members.
        members: String,
    },
    /// A value that cannot work.
    #[error("{setting} is {value}: {hint}")]
    Value {
        /// The setting.
        setting: String,
        /// What it is.
        value: String,
        /// What it must be.
        hint: &'static str,
    },
}

impl Config {
    /// This node's entry among the members.
    ///
    /// # Panics
    /// Never for a loaded configuration, which [`Self::load`] has checked.
    pub fn this_member(&self) -> &MemberSection {
        let own = self.cluster.members.iter().find(|member| member.id == self.node.id);
        own.expect("a loaded configuration has this node among its members")
    }

    /// The file with the node's sealed identity.
    pub fn identity_file(&self) -> PathBuf {
        self.node.data_dir.join(IDENTITY_FILE)
    }

    /// Where the passphrase of the node's sealed identity comes from.
    pub fn passphrase_source(&self) -> PassphraseSource {
        self.node.unlock_file.clone().map_or(PassphraseSource::Credential, PassphraseSource::File)
    }

    /// The path of the admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.listen.admin_socket.clone().unwrap_or_else(|| self.node.data_dir.join("admin.sock"))
    }

    fn resolve_paths(&mut self, base: &Path) {
        let Self { node, listen, tls, backup, cluster: _, limits: _, log: _, audit: _, telemetry: _ } = self;
        let optional = [&mut node.unlock_file, &mut listen.admin_socket, &mut backup.dir];
        let required = [&mut node.data_dir, &mut tls.ca, &mut tls.cert, &mut tls.key];
        for path in optional.into_iter().flatten().chain(required) {
            *path = base.join(&*path);
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for member in &self.cluster.members {
            if member.id.0 == 0 {
                return Err(ConfigError::ZeroNode);
            }
            if !ids.insert(member.id) {
                return Err(ConfigError::TwoMembersWithOneId(member.id));
            }
            for address in [&member.peer, &member.client_url] {
                if !addresses.insert(address.as_str()) {
                    return Err(ConfigError::TwoMembersAtOneAddress(address.clone()));
                }
            }
            check_member(member)?;
        }
        if !ids.contains(&self.node.id) {
            let members = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::NotAMember { node: self.node.id, members });
        }
        self.check_values()
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        let socket = self.admin_socket();
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(ConfigError::SocketPath { path: socket, bytes });
        }
        let limits = &self.limits;
        let positive = "it must be at least 1";
        for (setting, value) in [
            ("limits.request_timeout_ms", limits.request_timeout_ms),
            ("limits.connections_max", limits.connections_max.into()),
            ("limits.tick_ms", limits.tick_ms),
            ("limits.leader_moves_after_ms", limits.leader_moves_after_ms),
            ("limits.log_bytes_max", limits.log_bytes_max as u64),
            ("backup.keep", self.backup.keep as u64),
            ("audit.keep_days", self.audit.keep_days),
            ("audit.sign_secs", self.audit.sign_secs),
        ] {
            if value == 0 {
                return Err(ConfigError::Value {
                    setting: setting.into(),
                    value: "0".into(),
                    hint: positive,
                });
            }
        }
        if limits.slot_tolerance > MAX_SLOT_TOLERANCE {
            return Err(ConfigError::Value {
                setting: "limits.slot_tolerance".into(),
                value: limits.slot_tolerance.to_string(),
                hint: "30 slots are the most: a restore leaves out as many after now, and a wider fence hides a clock that \
                       is wrong. For slots of another length see `signonce chains retime`",
            });
        }
        let id = &self.cluster.id;
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ConfigError::Value {
                setting: "cluster.id".into(),
                value: format!("{id:?}"),
                hint: "a cluster id is the 32 hex digits that `signonce init` made",
            });
        }
        if let Some(endpoint) = self.telemetry.otlp.as_ref().filter(|otlp| Collector::of(otlp).is_none()) {
            return Err(ConfigError::Value {
                setting: "telemetry.otlp".into(),
                value: format!("{endpoint:?}"),
                hint: "it must be http://host:port of a collector; one on this machine can send on over TLS",
            });
        }
        Ok(())
    }
}

fn check_member(member: &MemberSection) -> Result<(), ConfigError> {
    let wrong = |name: &str, value: &str, hint| ConfigError::Value {
        setting: format!("cluster.members[id={}].{name}", member.id),
        value: format!("{value:?}"),
        hint,
    };
    let port =
        member.peer.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse());
    if !matches!(port, Some(Ok(1u16..))) {
        return Err(wrong("peer", &member.peer, "it must be host:port"));
    }
    let host =
        member.client_url.strip_prefix("https://").or_else(|| member.client_url.strip_prefix("wss://"));
    if host.is_none_or(str::is_empty) {
        return Err(wrong("client_url", &member.client_url, "it must be https://host:port"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
