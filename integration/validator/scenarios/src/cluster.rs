//! A signer cluster of real processes, set up with the signer's own command line, as an operator would.

use crate::{
    chain::Chain,
    http,
    keys::{TYPES, ValidatorKeys},
    metrics::Metrics,
    ports,
    process::{Ended, Process, Program, Signal, attempt, run},
    stage::{Stage, until},
};
use anyhow::{Context as _, bail};
use serde_json::Value;
use signonce_protocol::{
    KeyType, Position,
    client::{ClientConfig, SignerClient, Timeouts, TlsSource},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a command or a start may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a validator shows to reach the signers, as PEM files.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The authority of the signers' certificates.
    pub ca: PathBuf,
    /// The validator's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A cluster. Dropping it kills its processes.
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    logs: PathBuf,
    id: String,
    signers: Vec<Signer>,
}

struct Signer {
    id: u64,
    peer: SocketAddr,
    client: SocketAddr,
    admin: SocketAddr,
    metrics: SocketAddr,
    process: Option<Process>,
}

impl Cluster {
    /// Sets up a cluster, starts it and waits until it serves.
    ///
    /// # Errors
    /// If a command fails or a signer does not become ready.
    pub async fn start(stage: &Stage, signers: u64) -> anyhow::Result<Self> {
        let dir = stage.dir("signers")?;
        let mut cluster = Self {
            binary: stage.signonce.clone(),
            dir,
            logs: stage.log(""),
            id: String::new(),
            signers: Vec::new(),
        };
        cluster.logs.pop();
        for id in 1..=signers {
            let [peer, client, admin, metrics] = [
                ports::free_address()?,
                ports::free_address()?,
                ports::free_address()?,
                ports::free_address()?,
            ];
            cluster.signers.push(Signer { id, peer, client, admin, metrics, process: None });
        }
        let certs = cluster.certs_text()?;
        cluster.command(&["certs", "init", "--dir", &certs]).await?;
        cluster.id = cluster.command(&["init", "--new-cluster-id"]).await?.trim().to_owned();
        for at in 0..cluster.signers.len() {
            cluster.create_signer(at).await?;
        }
        cluster.start_all()?;
        cluster.wait_ready().await?;
        stage.say(format!("{signers} signers serve"));
        Ok(cluster)
    }

    async fn create_signer(&self, at: usize) -> anyhow::Result<()> {
        let id = self.signers[at].id;
        let home = self.home(id);
        fs::create_dir_all(&home)?;
        let certs = self.certs_text()?;
        let (number, hosts) = (id.to_string(), ["--host", "127.0.0.1", "--host", "localhost"]);
        let issue = ["certs", "issue", "node", "--id", &number, "--cluster", &self.id, "--dir", &certs];
        self.command(&[&issue[..], &hosts[..]].concat()).await?;
        write_secret(&home.join("unlock"), &hex::encode(rand::random::<[u8; 16]>()))?;
        fs::write(self.config(id), self.config_text(at))?;
        let config = text(&self.config(id))?;
        self.command(&["init", "--config", &config, "--yes"]).await?;
        Ok(())
    }

    fn config_text(&self, at: usize) -> String {
        let Signer { id, peer, client, admin, metrics, .. } = &self.signers[at];
        let (cluster, certs) = (&self.id, self.certs());
        let certs = certs.display();
        let mut text = format!(
            "[node]\nid = {id}\ndata_dir = \"data\"\nunlock_file = \"unlock\"\n\n[cluster]\nid = \"{cluster}\"\n"
        );
        for member in &self.signers {
            let (id, peer, client) = (member.id, member.peer, member.client);
            let _ = write!(
                text,
                "\n[[cluster.members]]\nid = {id}\npeer = \"{peer}\"\nclient_url = \"https://{client}\"\n"
            );
        }
        let _ = write!(
            text,
            "\n[listen]\npeer = \"{peer}\"\nclient = \"{client}\"\nadmin = \"{admin}\"\nmetrics = \"{metrics}\"\n\n\
             [tls]\nca = '{certs}/ca.pem'\ncert = '{certs}/node-{id}.pem'\nkey = '{certs}/node-{id}-key.pem'\n\n\
             [log]\nformat = \"text\"\n"
        );
        text
    }

    /// Makes a chain known.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn add_chain(&self, chain: &Chain) -> anyhow::Result<()> {
        self.add_chain_named("test", &chain.genesis, chain.slot_ms).await
    }

    /// Makes a chain known that need not exist.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn add_chain_named(&self, name: &str, genesis: &str, slot_ms: u64) -> anyhow::Result<()> {
        let slot = slot_ms.to_string();
        self.admin(&["chains", "add", name, "--genesis", genesis, "--slot-duration", &slot, "--yes"]).await?;
        Ok(())
    }

    /// Takes in a validator: its keys, and a client of its name that may use them all and no others.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn add_validator(&self, chain: &str, keys: &ValidatorKeys) -> anyhow::Result<ClientFiles> {
        self.add_validator_with(&TYPES, chain, keys).await
    }

    /// The same with keys of these types.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn add_validator_with(
        &self,
        types: &[KeyType],
        chain: &str,
        keys: &ValidatorKeys,
    ) -> anyhow::Result<ClientFiles> {
        let keystore = self.dir.join(format!("keystore-{}", keys.name));
        fs::create_dir_all(&keystore)?;
        keys.write_keystore_of(types, &keystore)?;
        let dir = text(&keystore)?;
        let import = ["keys", "import", &dir, "--chain", chain, "--group", &keys.name, "--new-key", "--yes"];
        // A new cluster's members announce themselves a moment after they are ready.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.admin(&import).await {
            if Instant::now() >= deadline || !error.to_string().contains("announced") {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Now the cluster has them, and nobody else shall.
        fs::remove_dir_all(&keystore)?;
        self.add_client(&keys.name, &format!("group:{}", keys.name)).await
    }

    /// A client with these rights.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn add_client(&self, name: &str, rights: &str) -> anyhow::Result<ClientFiles> {
        let certs = self.certs_text()?;
        self.command(&["certs", "issue", "client", name, "--dir", &certs]).await?;
        let files = self.client_files(name);
        let cert = text(&files.cert)?;
        self.admin(&["clients", "add", name, "--cert", &cert, "--rights", rights, "--yes"]).await?;
        Ok(files)
    }

    /// Where the files of a client are.
    pub fn client_files(&self, name: &str) -> ClientFiles {
        let certs = self.certs();
        ClientFiles {
            ca: certs.join("ca.pem"),
            cert: certs.join(format!("client-{name}.pem")),
            key: certs.join(format!("client-{name}-key.pem")),
        }
    }

    /// Where certificates are, those of signers and the authority's key among them.
    pub fn certs(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// The cluster's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where clients reach the signers.
    pub fn urls(&self) -> Vec<String> {
        self.signers.iter().map(|signer| format!("https://{}", signer.client)).collect()
    }

    /// Where a signer serves plain HTTP.
    pub fn metrics_address(&self, id: u64) -> anyhow::Result<SocketAddr> {
        Ok(self.signer(id)?.metrics)
    }

    /// A client of the whole cluster.
    ///
    /// # Errors
    /// If its files are of no use.
    pub fn client(&self, files: &ClientFiles) -> anyhow::Result<SignerClient> {
        client(files, self.urls())
    }

    /// How far a key has signed.
    ///
    /// # Errors
    /// If the cluster does not answer, or this client may not see the key.
    pub async fn highest(
        &self,
        files: &ClientFiles,
        keys: &ValidatorKeys,
        key_type: KeyType,
    ) -> anyhow::Result<Option<Position>> {
        let public = keys.public(key_type)?;
        let list = self.client(files)?.keys().await?;
        let key = list.into_iter().find(|key| key.key_type == key_type && key.public == public);
        let key = key.with_context(|| format!("the cluster shows no {key_type} key of {}", keys.name))?;
        Ok(key.watermarks.first().and_then(|mark| mark.highest))
    }

    /// Signatures given since the signers started, by class of duty.
    ///
    /// # Errors
    /// If a signer that should run does not answer.
    pub async fn signatures(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let metrics = self.metrics().await?;
        let classes = metrics.by_label("signonce_requests_total", "class");
        let given = |class: &str| {
            ["granted", "repeated", "free"]
                .iter()
                .filter_map(|outcome| {
                    metrics.sum("signonce_requests_total", &[("class", class), ("outcome", *outcome)])
                })
                .sum::<f64>()
        };
        Ok(classes.into_keys().map(|class| (class.clone(), given(&class) as u64)).collect())
    }

    /// Requests of a class and outcome since the signers started. A refusal's outcome is the name of its code.
    ///
    /// # Errors
    /// If a signer that should run does not answer.
    pub async fn requests(&self, outcome: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let metrics = self.metrics().await?;
        let classes = metrics.by_label("signonce_requests_total", "class");
        let count = |class: &str| {
            metrics
                .sum("signonce_requests_total", &[("class", class), ("outcome", outcome)])
                .unwrap_or_default()
        };
        Ok(classes.into_keys().map(|class| (class.clone(), count(&class) as u64)).collect())
    }

    async fn metrics(&self) -> anyhow::Result<Metrics> {
        let mut scrapes = Vec::new();
        for signer in self.signers.iter().filter(|signer| signer.process.is_some()) {
            scrapes.push(Metrics::scrape(signer.metrics).await?);
        }
        Ok(Metrics::together(scrapes))
    }

    /// The leader, if a running signer knows one that runs.
    pub async fn leader(&self) -> Option<u64> {
        for signer in self.signers.iter().filter(|signer| signer.process.is_some()) {
            let socket = format!("unix:{}", self.home(signer.id).join("data/admin.sock").display());
            let asked = ["status", "--json", "--admin", &socket];
            // A signer that is not ready exits with 4, but says who leads.
            let Ok(said) = self.command(&asked).await else { continue };
            let leader =
                serde_json::from_str::<Value>(&said).ok().and_then(|said| said["status"]["leader"].as_u64());
            if let Some(leader) = leader
                && self.runs(leader)
            {
                return Some(leader);
            }
        }
        None
    }

    /// Waits for a leader other than `old`.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn leader_other_than(&self, old: Option<u64>) -> anyhow::Result<u64> {
        until("a leader is elected", PATIENCE, async || self.leader().await.filter(|new| Some(*new) != old))
            .await
    }

    /// The signers' numbers.
    pub fn ids(&self) -> Vec<u64> {
        self.signers.iter().map(|signer| signer.id).collect()
    }

    /// Starts every signer that does not run.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.ids().into_iter().try_for_each(|id| self.start_signer(id))
    }

    /// Starts a signer, unless it runs.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start_signer(&mut self, id: u64) -> anyhow::Result<()> {
        if self.runs(id) {
            return Ok(());
        }
        let program = Program {
            name: format!("signer {id}"),
            words: vec![
                self.binary.clone().into(),
                "start".into(),
                "--config".into(),
                self.config(id).into(),
            ],
            environment: Vec::new(),
            log: self.logs.join(format!("signer-{id}.log")),
        };
        let process = Process::start(program)?;
        self.signer_mut(id)?.process = Some(process);
        Ok(())
    }

    /// Kills a signer, as in a crash.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        let process =
            self.signer_mut(id)?.process.take().with_context(|| format!("signer {id} does not run"))?;
        process.kill()
    }

    /// Kills every signer.
    ///
    /// # Errors
    /// If one has ended before.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        self.ids().into_iter().try_for_each(|id| self.kill(id))
    }

    /// Sends a signal to every signer: [`Signal::STOP`] freezes them with their connections open.
    ///
    /// # Errors
    /// If one has ended.
    pub fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        let running = self.signers.iter().filter_map(|signer| signer.process.as_ref());
        running.into_iter().try_for_each(|process| process.signal(signal))
    }

    /// Waits until every signer that was started serves.
    ///
    /// # Errors
    /// If one ends, or does not serve in time.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        for signer in self.signers.iter().filter(|signer| signer.process.is_some()) {
            let what = format!("signer {} is ready", signer.id);
            let ready =
                async || matches!(http::get(signer.metrics, "/readyz").await, Ok((200, _))).then_some(());
            let ended = async || self.all_run().is_err().then_some(());
            until(&what, PATIENCE, async || ready().await.or(ended().await)).await?;
            self.all_run()?;
        }
        Ok(())
    }

    /// # Errors
    /// If a signer that was started and not killed has ended.
    pub fn all_run(&self) -> anyhow::Result<()> {
        self.signers.iter().filter_map(|signer| signer.process.as_ref()).try_for_each(Process::must_run)
    }

    /// Runs a command of an operator on the first signer that runs.
    ///
    /// # Errors
    /// If it fails.
    pub async fn admin(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let config = self.operators_config()?;
        self.command(&[arguments, &["--config", &config]].concat()).await
    }

    /// The same, whatever comes of it.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn attempt(&self, arguments: &[&str], patience: Duration) -> anyhow::Result<Ended> {
        let config = self.operators_config()?;
        attempt(&self.binary, &[arguments, &["--config", &config]].concat(), patience).await
    }

    fn operators_config(&self) -> anyhow::Result<String> {
        let Some(signer) = self.signers.iter().find(|signer| signer.process.is_some()) else {
            bail!("no signer runs");
        };
        text(&self.config(signer.id))
    }

    /// Runs a command of the signer's program.
    ///
    /// # Errors
    /// If it fails.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(&self.binary, arguments, PATIENCE).await
    }

    fn home(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    fn config(&self, id: u64) -> PathBuf {
        self.home(id).join("signonce.toml")
    }

    fn certs_text(&self) -> anyhow::Result<String> {
        text(&self.certs())
    }

    fn runs(&self, id: u64) -> bool {
        self.signer(id).is_ok_and(|signer| signer.process.as_ref().is_some_and(|it| it.exited().is_none()))
    }

    fn signer(&self, id: u64) -> anyhow::Result<&Signer> {
        self.signers.iter().find(|signer| signer.id == id).with_context(|| format!("there is no signer {id}"))
    }

    fn signer_mut(&mut self, id: u64) -> anyhow::Result<&mut Signer> {
        self.signers
            .iter_mut()
            .find(|signer| signer.id == id)
            .with_context(|| format!("there is no signer {id}"))
    }
}

/// A client of some signers.
///
/// # Errors
/// If its files are of no use.
pub fn client(files: &ClientFiles, urls: Vec<String>) -> anyhow::Result<SignerClient> {
    let ClientFiles { ca, cert, key } = files.clone();
    let tls = TlsSource::Files { ca, cert, key };
    Ok(SignerClient::new(ClientConfig { urls, tls, timeouts: Timeouts::default() })?)
}

/// A path as an argument.
pub fn text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(secret.as_bytes())?)
}
