//! A client that floods a signer fills neither its log nor hides what is counted.

use crate::common::{World, code_of, get, until};
use signonce_cli::commands::demo::chain::{self, Flavour};
use signonce_protocol::{
    client::ClientError,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{fs, time::Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Lines about one subject in ten seconds, as the log's text says.
const LINES: u64 = 5;
const FLOOD: u64 = 150;

/// A counter's value: of the lines that begin with `name`, those that have all of `labels`, added up.
fn counted(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let wanted = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    metrics.lines().filter(wanted).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_broken_handshakes_by_the_hundred_are_a_few_lines_and_all_counted() {
    let world = World::start(&["v1"]).await;
    let client = world.client_of("v1", 1);
    let vote = |flavour| chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 7, Flavour(flavour));
    let first = client.sign(&world.params(GRANDPA, &vote(0))).await.unwrap();
    assert_eq!(first.verdict, SignVerdict::Granted);

    let started = Instant::now();
    for _ in 0..FLOOD {
        let refused = client.sign(&world.params(GRANDPA, &vote(1))).await.unwrap_err();
        assert_eq!(code_of(&refused), Some(ErrorCode::Equivocation), "{refused}");
        let mut unknown = world.params(GRANDPA, &vote(1));
        unknown.key = "0x7777777777777777777777777777777777777777777777777777777777777777".parse().unwrap();
        assert!(matches!(client.sign(&unknown).await, Err(ClientError::Refused(_))));
    }
    let address = world.cluster.urls()[0].strip_prefix("https://").unwrap().to_owned();
    for _ in 0..FLOOD {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // Until it is hung up on.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let most = LINES * (started.elapsed().as_secs() / 10 + 2);

    let log = fs::read_to_string(world.cluster.log_path(1)).unwrap();
    for text in ["refused: ", "not signed: ", "TLS handshake failed"] {
        let lines = log.lines().filter(|line| line.contains(text)).count() as u64;
        assert!((1..=most).contains(&lines), "{lines} lines of {text}");
    }
    // Nothing is missing where it is counted.
    until("everything is counted", async || {
        let (_, metrics) = get(world.cluster.metrics_address(1), "/metrics").await?;
        let refused = |code| counted(&metrics, "signonce_client_refused_total", &["v1", code]);
        let broken = counted(&metrics, "signonce_tls_handshakes_failed_total", &["\"client\""]);
        (refused("equivocation") == FLOOD && refused("unknownKey") == FLOOD && broken == FLOOD).then_some(())
    })
    .await;
}
