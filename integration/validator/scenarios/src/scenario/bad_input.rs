//! A validator whose way to its signers is bad in every way we can think of. Beside a healthy validator it must live
//! on, import blocks, say once what is wrong, and never use a signature that is not right.

use super::set::{Network, PATIENCE, new_keys};
use crate::{
    chain::Chain,
    cluster::{ClientFiles, Cluster},
    keys::ValidatorKeys,
    logs,
    middleman::{Fault, Middleman},
    node::{Node, NodeSetup, faketime},
    ports,
    report::Report,
    stage::Stage,
};
use anyhow::{Context as _, bail};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use std::{fs, path::Path, time::Duration};

/// How long each case is watched: twenty slots.
const WATCHED: Duration = Duration::from_secs(40);
/// Lines a case may cost: a few changes of state, some of them for each key, well below one a slot.
const LINES_AT_MOST: usize = 12;
/// How far the clock of one node is off, in seconds.
const SKEW: i64 = 10;

pub async fn run(stage: &Stage) -> anyhow::Result<Report> {
    // Three, of whom none ever sits out. The keys of each bad signer have never voted, so that votes are asked for.
    let validators = new_keys(3)?;
    let [healthy, lied_to, late] = validators.as_slice() else { bail!("three were asked for") };
    let chain = Chain::build(stage, "chain", &validators).await?;
    let cluster = Cluster::start(stage, 3).await?;
    cluster.add_chain(&chain).await?;
    let other_genesis = format!("0x{}", hex::encode([0x5a; 32]));
    cluster.add_chain_named("other", &other_genesis, chain.slot_ms).await?;
    let lied_to = cluster.add_validator(&chain.genesis, lied_to).await?;
    let late = cluster.add_validator(&chain.genesis, late).await?;
    let other = cluster.add_validator("other", &ValidatorKeys::generate("elsewhere")?).await?;

    // A validator of several makes no blocks while it has no peer.
    let rest = vec![NodeSetup::memory("healthy", healthy), NodeSetup::observer("observer")];
    let rest = Network::start(stage, &chain, rest)?;
    rest.nodes[0].best_above(0, PATIENCE).await?;
    let scene = Scene { stage, chain, cluster, files: late.clone(), rest };
    let mut report = Report::default();
    wrong_places(&scene, &mut report).await?;
    wrong_certificates(&scene, &mut report).await?;
    let setup = NodeSetup::remote("another-chain", scene.cluster.urls(), &other);
    scene.play(&mut report, "signers that hold the keys for another chain", setup, Seals::None).await?;
    let fault = Fault::WrongSignatures;
    bad_signer(
        &scene,
        &mut report,
        "wrong-signatures",
        "a signer whose signatures are wrong",
        fault,
        &lied_to,
    )
    .await?;
    let fault = Fault::Slow(Duration::from_secs(2));
    bad_signer(&scene, &mut report, "slow", "a signer that takes 2 s", fault, &late).await?;
    skewed_clock(&scene, &mut report).await?;
    scene.rest.check_all_run(&mut report);
    Ok(report)
}

/// What all cases share.
struct Scene<'a> {
    stage: &'a Stage,
    chain: Chain,
    cluster: Cluster,
    files: ClientFiles,
    /// A healthy validator, and its peer.
    rest: Network,
}

/// What a case lets the node seal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seals {
    /// Nothing: it gets no signature that is right.
    None,
    /// What comes in time.
    Any,
}

async fn wrong_places(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    let nobody = format!("https://{}", ports::free_address()?);
    let setup = NodeSetup::remote("unreachable", vec![nobody], &scene.files);
    scene.play(report, "an address where nobody listens", setup, Seals::None).await?;
    // It speaks HTTP, but no TLS.
    let metrics = format!("https://{}", scene.cluster.metrics_address(1)?);
    let setup = NodeSetup::remote("wrong-url", vec![metrics], &scene.files);
    scene.play(report, "the URL of something else", setup, Seals::None).await
}

async fn wrong_certificates(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    let strangers = crate::cluster::text(&scene.stage.dir("strangers")?.join("certs"))?;
    scene.cluster.command(&["certs", "init", "--dir", &strangers]).await?;
    let mut files = scene.files.clone();
    files.ca = Path::new(&strangers).join("ca.pem");
    let setup = NodeSetup::remote("wrong-ca", scene.cluster.urls(), &files);
    scene.play(report, "the wrong authority", setup, Seals::None).await?;

    let files = expired(scene)?;
    let setup = NodeSetup::remote("expired", scene.cluster.urls(), &files);
    scene.play(report, "an expired certificate", setup, Seals::None).await
}

/// A certificate of the right authority for the validator's own key, whose time is over.
fn expired(scene: &Scene<'_>) -> anyhow::Result<ClientFiles> {
    let (certs, mut files) = (scene.cluster.certs(), scene.files.clone());
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let authority = KeyPair::from_pem(&read(&certs.join("ca-key.pem"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&read(&files.ca)?, authority)?;
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 12, 31);
    let made = params.signed_by(&KeyPair::from_pem(&read(&files.key)?)?, &issuer)?;
    files.cert = certs.join("client-expired.pem");
    fs::write(&files.cert, made.pem())?;
    Ok(files)
}

async fn skewed_clock(scene: &Scene<'_>, report: &mut Report) -> anyhow::Result<()> {
    if faketime().is_none() {
        scene.stage.say("SKIPPED: a clock that is off, because faketime is not installed");
        report.fact("a clock that is off", "SKIPPED: faketime is not installed");
        return Ok(());
    }
    let mut setup = NodeSetup::remote("skewed", scene.cluster.urls(), &scene.files);
    setup.clock_skew = Some(SKEW);
    scene.play(report, &format!("a clock {SKEW} s ahead"), setup, Seals::Any).await
}

/// A signer with the cluster's own certificates, and signatures of the cluster, that spoils them.
async fn bad_signer(
    scene: &Scene<'_>,
    report: &mut Report,
    name: &str,
    what: &str,
    fault: Fault,
    files: &ClientFiles,
) -> anyhow::Result<()> {
    let (node, seals) = match fault {
        Fault::WrongSignatures => (8, Seals::None),
        Fault::Slow(_) => (9, Seals::Any),
    };
    // As the validator itself, so that the signers behind really sign.
    let middleman = Middleman::start(&scene.cluster, files, node, fault).await?;
    let setup = NodeSetup::remote(name, vec![middleman.url.clone()], files);
    scene.play(report, what, setup, seals).await?;
    let spoiled = middleman.spoiled();
    report.check(format!("{what}: it was really asked"), spoiled > 0, format!("{spoiled} answers spoiled"));
    Ok(())
}

impl Scene<'_> {
    /// Runs the node for a while, and judges.
    async fn play(
        &self,
        report: &mut Report,
        what: &str,
        setup: NodeSetup,
        seals: Seals,
    ) -> anyhow::Result<()> {
        self.stage.say(what);
        let healthy = &self.rest.nodes[0];
        let node = Node::start_among(self.stage, &self.chain, setup, &[healthy.setup.address()])?;
        let caught_up = healthy.rpc().best().await?;
        let imported = node.best_above(caught_up, PATIENCE).await;
        report.check_result(format!("{what}: it imports blocks"), imported);
        tokio::time::sleep(WATCHED).await;
        let height = healthy.rpc().best().await?;
        // Its own blocks are not those of the healthy one; it must take those up still.
        let goes_on = node.best_above(height, PATIENCE).await;
        report.check_result(format!("{what}: it goes on importing"), goes_on);
        report.check_result(format!("{what}: it has not ended"), node.must_run());
        let lines = logs::signer_lines(node.log());
        let few = (1..=LINES_AT_MOST).contains(&lines.len());
        report.check(format!("{what}: it says so, once a change"), few, lines.join("\n       "));
        let sealed = logs::sealed(node.log());
        match seals {
            Seals::None => {
                report.check(format!("{what}: nothing is sealed"), sealed == 0, format!("{sealed}"))
            }
            Seals::Any => report.fact(format!("{what}: blocks sealed"), sealed),
        }
        if node.must_run().is_ok() {
            let stopped = node.interrupt(PATIENCE).await;
            if let Some((_, took)) = report.check_result(format!("{what}: it stops when told to"), stopped) {
                report.time(format!("{what}: stopping"), took);
            }
        }
        Ok(())
    }
}
