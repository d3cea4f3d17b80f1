//! `signonce keys move-in`: a running validator's keys, from its disk into the cluster, one step after the other.
//!
//! The order is what matters: the old node's last report, then its end, then silence on chain, then arming, then the
//! chain again. Every step is written to the record, a file with public facts only; the same command continues where
//! the last run ended. Old files are named and never touched.

use super::{
    find_chain,
    floors::{VoteFloors, describe},
    import::wait_open,
    keystore::Keystore,
    source::{Found, Skipped},
};
use crate::commands::common::{Confirm, Done, NotYet, Reach, Usage, recorded, say, table};
use anyhow::Context as _;
use hyper::Uri;
use serde::{Deserialize, Serialize};
use signonce_cluster::clock::unix_ms;
use signonce_core::{Chain, Change, Floors, KeyState};
use signonce_keys::KeystoreKey;
use signonce_protocol::{ChainId, KeyId, LogIndex};
use signonce_shared::{
    admin::{
        api::ChainRow,
        client::{AdminClient, CallError},
    },
    enroll::{EnrollError, NewKey, enroll, recipients},
};
use signonce_substrate_rpc::http::Address;
use signonce_substrate_rpc::{
    node::{Node, nodes},
    progress::{Progress, Reached},
    quiet::{Quiet, Watched},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// How old the old node's report may be if no other node says how far the chain is. The authority set must not have
/// changed more than once since.
const WORD_LASTS: Duration = Duration::from_secs(600);

/// Moves the keys of a running validator into the cluster.
///
/// It first asks the old node how far its votes are (--node-url), and says when to stop it. Run it again then: it makes
/// sure that the old node is gone, waits until the chain has shown nothing by these keys for some blocks (--chain-url),
/// seals and arms the keys above everything the old node may have signed, and watches the chain once more. It ends with
/// a receipt and with how to destroy the old files, which it never does itself. After an interruption anywhere, the
/// same command continues.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example, with the old validator's RPC through a tunnel and another node of the chain:\n  \
    signonce keys move-in /copy/of/keystore --chain polkadot --group validator-2 \\\n    \
    --node-url http://127.0.0.1:9944 --chain-url wss://rpc.polkadot.io\n  \
    systemctl disable --now polkadot     # on the old machine, when it says so\n  \
    # and the first command again"
)]
pub(super) struct Args {
    #[command(flatten)]
    source: Keystore,
    /// The chain, by name or genesis hash.
    #[arg(long)]
    chain: String,
    /// The validator they belong to. Rights and the BEEFY shield are by validator.
    #[arg(long)]
    group: String,
    /// The old validator's RPC: http://, https://, ws:// or wss://.
    #[arg(long, value_name = "URL")]
    node_url: Option<Uri>,
    /// Another node of the chain, which says how far the chain is and shows what is signed on it. It must be up to
    /// date, by the slots in its blocks. Repeatable: the keys start above what each of them says.
    #[arg(long, value_name = "URL")]
    chain_url: Vec<Uri>,
    /// PEM: authorities for wss:// and https://, in place of this machine's.
    #[arg(long, value_name = "FILE")]
    chain_ca: Option<PathBuf>,
    /// Confirms that the old validator is stopped and will not start with these keys again. Needed if that cannot be
    /// seen: without --node-url, or if something else answers there now.
    #[arg(long)]
    old_node_stopped: bool,
    /// For how many blocks the chain must show nothing signed elsewhere, both before the keys are armed and after. With
    /// --chain-url.
    #[arg(long, value_name = "BLOCKS", default_value_t = 10)]
    watch_blocks: u64,
    /// How many GRANDPA rounds to leave out above the highest one known.
    #[arg(long, value_name = "ROUNDS", default_value_t = 50)]
    margin: u64,
    /// The file for the record of what was done. By default `move-in-GROUP.json` in the working directory.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    floors: VoteFloors,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// What was done so far; at the end, the receipt. Public facts only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    chain: String,
    genesis: ChainId,
    group: String,
    keystore: PathBuf,
    /// The old node's last report.
    old_node: Option<OldNode>,
    /// The evidence that the old node is gone.
    stopped: Option<String>,
    /// How far the chain was after that.
    chain_at: Option<Progress>,
    /// The silence before the keys were armed.
    silent: Option<Watched>,
    keys: Vec<Moved>,
    /// The chain after the keys were armed.
    watched: Option<Watched>,
    /// All steps are done: the files may be destroyed.
    done: bool,
    destroy: Vec<PathBuf>,
}

/// The old node, while it ran.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldNode {
    url: String,
    peer_id: Option<String>,
    place: Progress,
}

/// A key that is now in the cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    key: KeyId,
    file: PathBuf,
    /// None where an earlier import had armed it.
    floors: Option<Floors>,
    log_index: Option<LogIndex>,
}

/// A move in progress.
struct Move<'a> {
    args: &'a Args,
    admin: AdminClient,
    chain: ChainRow,
    node: Option<Node>,
    others: Vec<Node>,
    record: Record,
    file: PathBuf,
    /// The state of the nodes at --chain-url, for the plan.
    seen: Vec<String>,
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let (keys, skipped) = args.source.read()?;
    let ca = args.chain_ca.as_deref();
    let node = args.node_url.as_ref().map(|url| Node::new("--node-url", url, ca)).transpose()?;
    let others = nodes("--chain-url", &args.chain_url, ca)?;
    let file = args.record.clone().unwrap_or_else(|| format!("move-in-{}.json", args.group).into());
    let record = Record::open(&file, &chain, &args)?;
    let mut this = Move { args: &args, admin, chain, node, others, record, file, seen: Vec::new() };
    this.go(keys, &skipped).await?;
    args.reach.output.done(&this.record, this.record.receipt())?;
    Ok(ExitCode::SUCCESS)
}

impl Move<'_> {
    async fn go(&mut self, found: Vec<Found>, skipped: &[Skipped]) -> anyhow::Result<()> {
        let ids: Vec<KeyId> = found.iter().map(|found| found.key.id).collect();
        let (there, new) = self.part(found).await?;
        if !new.is_empty() {
            self.last_word().await?;
            self.old_node_is_gone(&ids).await?;
            self.plan(&new, &there, skipped).await?;
            self.silence(&ids).await?;
            self.bring_in(new).await?;
        }
        for (path, key) in there {
            self.record.has(key, path, None, None);
        }
        wait_open(&self.admin, &ids).await?;
        self.look_at_the_chain(&ids).await?;
        self.record.destroy = self.record.keys.iter().map(|moved| moved.file.clone()).collect();
        self.record.done = true;
        self.save()
    }

    /// Separates the keys that are armed here already from those that are to come in.
    async fn part(&self, found: Vec<Found>) -> anyhow::Result<(Vec<(PathBuf, KeyId)>, Vec<Found>)> {
        let rows = self.admin.keys().await?;
        let (mut there, mut new) = (Vec::new(), Vec::new());
        for found in found {
            let id = found.key.id;
            let row = rows.iter().find(|row| row.id == id);
            match row.map(|row| (row, row.state)) {
                None => new.push(found),
                Some((row, _)) if row.genesis != self.chain.genesis => {
                    anyhow::bail!("nothing was done: {id} is a key of chain {} already", row.chain)
                }
                Some((_, KeyState::Registered)) => new.push(found),
                Some((_, KeyState::Armed)) => there.push((found.path, id)),
                Some((_, KeyState::Disabled)) => anyhow::bail!(
                    "{id} is in the cluster and disabled; if that was because it had been seen signing elsewhere, find \
                     that copy first, then arm it with `signonce keys arm {id} --from …`"
                ),
                Some((_, KeyState::Removed)) => anyhow::bail!(
                    "{id} was removed from this cluster and can never come back; leave it out with --types, or set new \
                     session keys"
                ),
            }
        }
        Ok((there, new))
    }

    /// Records how far the old node's votes are, as long as it answers.
    async fn last_word(&mut self) -> anyhow::Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let Ok(peer_id) = node.identity().await else { return Ok(()) };
        let same = |old: &OldNode| old.peer_id.is_some() && old.peer_id == peer_id;
        if self.record.old_node.as_ref().is_some_and(|old| !same(old)) {
            // Another node answers at the old one's address, so its report is not the old node's.
            return Ok(());
        }
        let place = node.progress(&self.chain).await.context("the old node")?;
        let url = self.args.node_url.as_ref().map(ToString::to_string).unwrap_or_default();
        self.record.old_node = Some(OldNode { url, peer_id, place });
        self.save()?;
        let what = match place.grandpa {
            Some((set, round)) => format!("GRANDPA set {set}, round {round}; block {}", place.best),
            None => format!("block {}; it does not tell its GRANDPA round", place.best),
        };
        step(&format!("The old node's word, written to {}: {what}.", self.file.display()));
        Ok(())
    }

    /// Refuses while the old node runs, or may be running.
    async fn old_node_is_gone(&mut self, keys: &[KeyId]) -> anyhow::Result<()> {
        let answers = match &self.node {
            Some(node) => node.identity().await.ok(),
            None => None,
        };
        let known = self.record.old_node.as_ref().and_then(|old| old.peer_id.clone());
        let how = match (&self.node, answers) {
            (Some(node), Some(now)) => {
                let mut holds = Vec::new();
                for key in keys {
                    holds.push(node.has_key(key).await);
                }
                if holds.contains(&Some(true)) {
                    return Err(still_runs("the node at --node-url runs and has these keys in its keystore"));
                }
                let without = holds.iter().all(|has| *has == Some(false));
                match (without, now.is_some() && now == known, self.args.old_node_stopped) {
                    (true, ..) => "the node at --node-url says that it has none of these keys".to_owned(),
                    (false, true, _) => return Err(still_runs("the old node still answers")),
                    (false, false, true) => {
                        "the operator's word; another node answers at --node-url".to_owned()
                    }
                    (false, false, false) => {
                        return Err(still_runs(
                            "something answers at --node-url. If that is another node by now, say --old-node-stopped",
                        ));
                    }
                }
            }
            (Some(_), None) if self.record.old_node.is_some() => {
                "the old node does not answer any more".to_owned()
            }
            (_, _) if self.args.old_node_stopped => "the operator's word".to_owned(),
            (Some(_), None) => {
                return Err(NotYet(
                    "nobody answers at --node-url, and the old node never told how far it was: if it is stopped, say \
                     --old-node-stopped; if it runs, its RPC must be reachable from here"
                        .to_owned(),
                )
                .into());
            }
            (None, _) => {
                return Err(NotYet(
                    "whether the old validator is stopped cannot be seen from here: give --node-url, or stop it and \
                     say --old-node-stopped"
                        .to_owned(),
                )
                .into());
            }
        };
        step(&format!("The old validator is gone: {how}."));
        self.record.stopped = Some(how);
        self.save()
    }

    /// How far the votes are now.
    async fn reached(&mut self) -> anyhow::Result<Reached> {
        let old = self.record.old_node.as_ref().map(|old| old.place);
        let mut now: Option<Progress> = None;
        for (url, other) in self.args.chain_url.iter().zip(&self.others) {
            let place = other
                .progress(&self.chain)
                .await
                .with_context(|| format!("--chain-url {}", Address::of(url)))?;
            if let Some(head) = place.head {
                self.seen.push(format!("{} is at block {}: {head}.", Address::of(url), place.best));
            }
            now = Some(now.map_or(place, |before| before.or_further(place)));
        }
        if let (Some(old), None) = (old, now) {
            let age = Duration::from_millis(unix_ms().saturating_sub(old.at_ms));
            if age > WORD_LASTS {
                anyhow::bail!(
                    "nothing was imported: the old node's last word is {} minutes old, and without --chain-url \
                     nothing newer is known. Give --chain-url, or start the old node, run this command, and stop it \
                     right after",
                    age.as_secs() / 60
                );
            }
        }
        self.record.chain_at = now;
        Ok(Reached { old, now, rounds: self.args.margin })
    }

    fn floors(&self, id: &KeyId, reached: &Reached) -> Result<Floors, Usage> {
        self.args.floors.above(id.key_type, &self.chain, reached, unix_ms())
    }

    async fn plan(
        &mut self,
        new: &[Found],
        there: &[(PathBuf, KeyId)],
        skipped: &[Skipped],
    ) -> anyhow::Result<()> {
        self.seen.clear();
        let reached = self.reached().await?;
        let members = recipients(&self.admin).await?.len();
        let mut rows = Vec::new();
        for found in new {
            let id = found.key.id;
            rows.push([
                id.key_type.to_string(),
                id.public.to_string(),
                describe(&self.floors(&id, &reached)?),
            ]);
        }
        let mut text = format!(
            "Will move {} keys of {} to chain {} for {:?}, sealed to {members} members:\n\n{}\n",
            new.len(),
            self.record.keystore.display(),
            self.chain.name,
            self.args.group,
            table(["TYPE", "PUBLIC KEY", "SIGNS, OR LATER"], rows)
        );
        for (_, id) in there {
            text.push_str(&format!("Armed here already, its watermark stays as it is: {id}\n"));
        }
        for Skipped { file, why } in skipped {
            text.push_str(&format!("Left where it is: {}: {why}\n", file.display()));
        }
        if let Some(OldNode { url, place: Progress { head: Some(head), best, .. }, .. }) =
            &self.record.old_node
        {
            text.push_str(&format!("The old node ({url}) was at block {best}: {head}.\n"));
        }
        for seen in &self.seen {
            text.push_str(&format!("{seen}\n"));
        }
        let urls: Vec<String> = self.args.chain_url.iter().map(ToString::to_string).collect();
        text.push_str(&match (urls.as_slice(), self.args.watch_blocks) {
            ([], _) => "Nobody looks at the chain: there is no --chain-url.".to_owned(),
            (_, 0) => "Nobody looks at the chain: --watch-blocks 0.".to_owned(),
            (urls, blocks) => format!(
                "Before they are armed, each of these has to show {blocks} blocks without anything signed by them, and \
                 {blocks} blocks after: {}.",
                urls.join(", ")
            ),
        });
        text.push_str(
            "\n\nThe old validator must never start with these keys again: two copies of a key that do not know of \
             each other are what gets a validator slashed.",
        );
        self.args.confirm.ask(text)
    }

    /// Makes sure that nobody signs with these keys now; whoever does has another copy.
    async fn silence(&mut self, keys: &[KeyId]) -> anyhow::Result<()> {
        let Some(quiet) = self.quiet(keys)? else { return Ok(()) };
        step(&format!("Waiting for {} blocks without anything signed by these keys.", quiet.blocks));
        let watched = quiet.watch(None, blind).await?;
        if let Some(seen) = &watched.signed_elsewhere {
            anyhow::bail!(
                "nothing was imported: {seen}. The old validator, or another copy of its keys, still runs: find it and \
                 stop it, then run this command again"
            );
        }
        self.record.silent = Some(watched);
        self.save()
    }

    async fn bring_in(&mut self, new: Vec<Found>) -> anyhow::Result<()> {
        let recipients = recipients(&self.admin).await?;
        // The chain has advanced in the meantime.
        let reached = self.reached().await?;
        let mut waiting = Vec::new();
        for Found { path, key, history: _ } in new {
            let KeystoreKey { id, secret, .. } = key;
            let floors = self.floors(&id, &reached)?;
            let key = NewKey { id, secret, group: Some(self.args.group.clone()), floors: floors.clone() };
            let at = match enroll(&self.admin, self.chain.genesis, &recipients, &key).await {
                Ok(at) => at,
                Err(EnrollError::Call(CallError::Proposed { id: proposal })) => {
                    waiting.push(format!("{id}: signonce proposals approve {proposal}"));
                    continue;
                }
                Err(error) => {
                    let goes_on = format!("at {}; the same command goes on from there", path.display());
                    return Err(anyhow::Error::from(error).context(goes_on));
                }
            };
            step(&format!("Armed {id}, {}.", describe(&floors)));
            self.record.has(id, path, Some(floors), Some(at));
            recorded(self.save())?;
        }
        if !waiting.is_empty() {
            let why = "these keys sign once another key officer says so; run this command again then";
            return Err(NotYet(format!("{why}:\n  {}", waiting.join("\n  "))).into());
        }
        Ok(())
    }

    /// Watches the chain while only the cluster signs with these keys: whatever its audit does not know was signed
    /// elsewhere.
    async fn look_at_the_chain(&mut self, keys: &[KeyId]) -> anyhow::Result<()> {
        if self.record.watched.is_some() {
            return Ok(());
        }
        let Some(quiet) = self.quiet(keys)? else { return Ok(()) };
        step(&format!(
            "Looking at {} more blocks for signatures that this cluster did not give.",
            quiet.blocks
        ));
        let watched = quiet.watch(Some(self.admin.clone()), blind).await?;
        if let Some(seen) = watched.signed_elsewhere {
            for key in keys {
                self.admin.change(&Change::DisableKey { id: *key }).await?;
            }
            anyhow::bail!(
                "{seen}. Another copy of the keys still signs, so they were disabled here again: find it and stop it, \
                 then arm each key with `signonce keys arm KEY --from …`, above what the copy may have signed"
            );
        }
        self.record.watched = Some(watched);
        self.save()
    }

    /// A watch of the chain, if one is wanted.
    fn quiet(&self, keys: &[KeyId]) -> anyhow::Result<Option<Quiet>> {
        if self.args.chain_url.is_empty() || self.args.watch_blocks == 0 {
            return Ok(None);
        }
        let since = self.record.chain_at.map(|now| match &self.record.old_node {
            Some(old) => now.raised_by(old.place),
            None => now,
        });
        let quiet = Quiet {
            urls: self.args.chain_url.clone(),
            chain: self.chain.clone(),
            authorities: self.args.chain_ca.clone(),
            keys: keys.to_vec(),
            blocks: self.args.watch_blocks,
            since,
        };
        Ok(Some(quiet))
    }

    fn save(&self) -> anyhow::Result<()> {
        self.record.write(&self.file)
    }
}

fn still_runs(what: &str) -> anyhow::Error {
    NotYet(format!(
        "{what}. Nothing was imported: stop it, keep it stopped (`systemctl disable --now …`), and run this command \
         again"
    ))
    .into()
}

/// Reports a step on standard error, as standard output is for the receipt.
fn step(text: &str) {
    say!("{text}");
}

/// Reports that the chain cannot be seen for now.
fn blind(why: String) {
    say!("Blind: {why}; trying again.");
}

impl Record {
    /// The record of an earlier run, or a new one.
    fn open(file: &Path, chain: &Chain, args: &Args) -> anyhow::Result<Self> {
        let keystore = args.source.directory();
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    version: 1,
                    chain: chain.name.clone(),
                    genesis: chain.genesis,
                    group: args.group.clone(),
                    keystore,
                    old_node: None,
                    stopped: None,
                    chain_at: None,
                    silent: None,
                    keys: Vec::new(),
                    watched: None,
                    done: false,
                    destroy: Vec::new(),
                });
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let record: Self = serde_json::from_str(&text).map_err(|error| {
            Usage(format!("{} is not the record of a move: {error}; take another --record", file.display()))
        })?;
        let same = record.version == 1
            && record.genesis == chain.genesis
            && record.group == args.group
            && record.keystore == keystore;
        if !same {
            let why = format!(
                "{} is the record of another move ({} of chain {} for {:?}); take another --record",
                file.display(),
                record.keystore.display(),
                record.chain,
                record.group
            );
            return Err(Usage(why).into());
        }
        Ok(record)
    }

    /// Written to a second file first: an interrupted write must not lose what the old node said.
    fn write(&self, file: &Path) -> anyhow::Result<()> {
        super::write_record(file, self)
    }

    fn has(&mut self, key: KeyId, file: PathBuf, floors: Option<Floors>, log_index: Option<LogIndex>) {
        if !self.keys.iter().any(|moved| moved.key == key) {
            self.keys.push(Moved { key, file, floors, log_index });
        }
    }

    fn receipt(&self) -> String {
        let mut text =
            format!("Moved {} keys to chain {} for {:?}.\n", self.keys.len(), self.chain, self.group);
        for moved in &self.keys {
            let floors = moved.floors.as_ref().map_or_else(|| "armed before".to_owned(), describe);
            text.push_str(&format!("  {}  {floors}\n", moved.key));
        }
        text.push_str(&format!(
            "The old validator: {}.\n",
            self.stopped.as_deref().unwrap_or("armed before")
        ));
        for (when, watched) in [("Before they were armed", &self.silent), ("After", &self.watched)] {
            text.push_str(&match watched {
                Some(watched) => format!(
                    "{when}, blocks {} to {} showed nothing of them that was signed elsewhere.\n",
                    watched.from, watched.to
                ),
                None => format!("{when}, nobody looked at the chain.\n"),
            });
        }
        text.push_str("\nNow destroy the old files, and every backup of them. On the old machine:\n");
        for file in &self.destroy {
            text.push_str(&format!("  shred -u '{}'\n", file.display()));
        }
        text.push_str(
            "A copy on a journaling or copy-on-write file system, an SSD or a snapshot may outlive that: wipe the \
             disk, or set new session keys (`signonce keys rotate`).\nStart the validator with --remote-signer only; \
             never again with these keys of its own.",
        );
        text
    }
}
