//! Checks the ports of this node, the other members, and this clock against theirs.

use super::Findings;
use crate::commands::common::told;
use anyhow::Context as _;
use http::header;
use signonce_shared::{
    config::{Config, MemberSection},
    http::{HttpClient, Limits},
    tls,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::{Duration, SystemTime},
};
use tokio::{net::TcpStream, time::timeout};

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The limits of an answer on a member's client port.
const ANSWER: Limits = Limits { time: PATIENCE, bytes: 64 << 10 };
/// Clocks further apart than this are wrong. Answers carry whole seconds.
const APART: Duration = Duration::from_secs(3);

/// Checks that this node can listen, if it is not running already.
pub(super) fn own_ports(config: &Config, running: bool, findings: &mut Findings) {
    if running {
        return findings.fine("ports", "the running node has them");
    }
    let listen = &config.listen;
    let ports: [(&str, SocketAddr); 4] = [
        ("peer", listen.peer),
        ("client", listen.client),
        ("admin", listen.admin),
        ("metrics", listen.metrics),
    ];
    for (name, address) in ports {
        match TcpListener::bind(address) {
            Ok(_) => findings.fine(format!("{name} port"), format!("{address} is free")),
            Err(error) => {
                findings.wrong(format!("{name} port"), format!("cannot listen on {address}: {error}"))
            }
        }
    }
}

/// Checks every other member: its peer port, its client port with TLS, its clock.
pub(super) async fn members(config: &Config, findings: &mut Findings) {
    for member in config.cluster.members.iter().filter(|member| member.id != config.node.id) {
        let what = format!("member {}", member.id);
        match timeout(PATIENCE, TcpStream::connect(member.peer.as_str())).await {
            Ok(Ok(_)) => findings.fine(&what, format!("peer port {} answers", member.peer)),
            // The machine is there but nothing listens: the member was not started yet.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                findings.warning(&what, format!("nothing listens on {} (not started?)", member.peer));
                continue;
            }
            Ok(Err(error)) => {
                findings.wrong(&what, format!("cannot reach {}: {error}", member.peer));
                continue;
            }
            Err(_) => {
                findings.wrong(&what, format!("{} does not answer: look at firewalls", member.peer));
                continue;
            }
        }
        match clock_of(config, member).await {
            Ok(theirs) => compare(&what, theirs, SystemTime::now(), findings),
            Err(error) => findings.wrong(&what, format!("{}: {}", member.client_url, told(&error))),
        }
    }
}

fn compare(what: &str, theirs: SystemTime, ours: SystemTime, findings: &mut Findings) {
    let apart = ours.duration_since(theirs).unwrap_or_else(|behind| behind.duration());
    let what = format!("clock of {what}");
    if apart > APART {
        let hint = "slots are wall-clock time; look at the time service on both";
        findings.wrong(what, format!("{} s apart from this one: {hint}", apart.as_secs()));
    } else {
        findings.fine(what, "agrees with this one");
    }
}

/// The `Date` of an answer from the member's client port, asked with this node's certificate.
async fn clock_of(config: &Config, member: &MemberSection) -> anyhow::Result<SystemTime> {
    let http = HttpClient::new(tls::client_config(&config.tls)?);
    let answer = http.get(&member.client_url.parse()?, ANSWER).await?;
    let date = answer.headers().get(header::DATE).context("its answer has no Date header")?;
    Ok(httpdate::parse_http_date(date.to_str()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    #[test]
    fn clocks_that_are_apart_are_wrong_either_way() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (offset, level) in [(0, Level::Fine), (2, Level::Fine), (4, Level::Wrong)] {
            let other = now + Duration::from_secs(offset);
            for (theirs, ours) in [(now, other), (other, now)] {
                let mut findings = Findings::default();
                compare("member 2", theirs, ours, &mut findings);
                assert_eq!(findings.0[0].level, level, "{offset}");
            }
        }
    }
}
