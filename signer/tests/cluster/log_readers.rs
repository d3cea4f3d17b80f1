//! A log does not decide whether something is signed: neither where its reader has stopped or died, nor where it has no
//! room.

use crate::{
    common::{BINARY, PATIENCE, World, code_of, get, run_program, until},
    seeing::Scrape,
};
use rustix::fs::OFlags;
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::{LocalOptions, Signal},
};
use signonce_protocol::{
    RawPayload,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

fn vote(round: u64, flavour: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, 7, Flavour(flavour))
}

/// A program that runs the signer as the lines of a shell script say, in which `RUN` stands for it.
fn script(dir: &Path, name: &str, lines: &str) -> PathBuf {
    let path = dir.join(name);
    let run = format!("exec '{BINARY}' \"$@\"");
    fs::write(&path, format!("#!/bin/bash\n{}\n", lines.replace("RUN", &run))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap())
}

/// A pipe that is open, full, and never read.
struct FullPipe {
    path: PathBuf,
    reader: File,
}

impl FullPipe {
    fn make(path: PathBuf) -> Self {
        make_fifo(&path);
        let mut reader = non_blocking(OpenOptions::new().read(true).write(true)).open(&path).unwrap();
        // In pieces that a pipe takes whole or not at all, then byte by byte.
        for piece in [&[b'x'; 4_096][..], b"x"] {
            let full = loop {
                if let Err(error) = reader.write_all(piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
        }
        Self { path, reader }
    }

    /// Its reader dies.
    fn close(self) {
        drop(self.reader);
    }
}

/// Every node signs, refuses (which is a line in its log), and says that it lives.
async fn all_go_on(world: &World, round: u64) {
    for (node, round) in world.cluster.node_ids().into_iter().zip(round..) {
        let client = world.client_of("v1", node);
        let signed = client.sign(&world.params(GRANDPA, &vote(round, 0))).await.unwrap();
        assert_eq!(signed.verdict, SignVerdict::Granted, "node {node}");
        let refused = client.sign(&world.params(GRANDPA, &vote(round, 1))).await.unwrap_err();
        assert_eq!(code_of(&refused), Some(ErrorCode::Equivocation), "node {node}: {refused}");
        let alive = get(world.cluster.metrics_address(node), "/livez").await;
        assert_eq!(alive, Some((200, "alive\n".into())), "node {node}");
    }
}

async fn loses_lines(world: &World, node: u64) {
    until("lines of the log are counted as lost", async || {
        let (_, text) = get(world.cluster.metrics_address(node), "/metrics").await?;
        let lost = Scrape::parse(&text).value("signonce_log_lines_lost_total", &[])?;
        (lost > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_logs_that_stop_die_or_have_no_room_never_stop_a_signer() {
    let dir = tempfile::tempdir().unwrap();
    let full = FullPipe::make(dir.path().join("full"));
    let binary = script(
        dir.path(),
        "signonce",
        &format!(
            "case \"$*\" in\n\
             *node-1*) RUN 2>'{}' ;;\n\
             *node-2*) RUN > >(head -1 >/dev/null) 2>&1 ;;\n\
             *node-3*) RUN >/dev/full 2>&1 ;;\n\
             esac",
            full.path.display()
        ),
    );
    let clients = vec!["v1".into()];
    let world = World::with(LocalOptions { clients, binary: Some(binary), ..LocalOptions::default() }).await;
    let pids = world.cluster.node_ids().into_iter().map(|node| (node, world.cluster.pid(node)));
    let pids: Vec<_> = pids.collect();
    all_go_on(&world, 1).await;
    loses_lines(&world, 2).await;
    loses_lines(&world, 3).await;
    // The reader that had stopped dies.
    full.close();
    loses_lines(&world, 1).await;
    all_go_on(&world, 11).await;
    for (node, pid) in pids {
        assert_eq!(world.cluster.pid(node), pid, "node {node} has not ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_must_stop_stops_though_nobody_takes_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let node = world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap();
    world.cluster.signal(node, Signal::Term).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();

    // A limit on the size of files fails a write in the middle, as a full disk does.
    let full = FullPipe::make(dir.path().join("full"));
    let limits = format!("trap '' XFSZ\nulimit -f 300\nRUN 2>'{}'", full.path.display());
    world.cluster.set_binary(script(dir.path(), "limited", &limits));
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let client = world.client("v1");
    for round in 1.. {
        client.sign(&world.params(GRANDPA, &vote(round, 0))).await.unwrap();
        if world.cluster.pid(node).is_none() {
            break;
        }
        assert!(round < 20_000, "the disk is not full yet, or the node that cannot write lives on");
    }
    assert!(!world.cluster.wait_exit(node, PATIENCE).unwrap().success());
}

#[test]
fn a_start_that_fails_says_so_by_its_exit_code_whoever_listens() {
    let dir = tempfile::tempdir().unwrap();
    let full = FullPipe::make(dir.path().join("full"));
    for to in ["/dev/full", full.path.to_str().unwrap()] {
        let program = script(dir.path(), "signonce", &format!("RUN 2>'{to}'"));
        let output = run_program(&program, &["start", "--config", "/nowhere/signonce.toml"]);
        assert_eq!(output.status.code(), Some(2), "to {to}: {:?}", output.status);
    }
}
