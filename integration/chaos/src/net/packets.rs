//! A packet switch between network namespaces: each node has a network of its own whose one device ends here, and
//! every packet between nodes passes through this program, which loses it, holds it back, or lets it through. The
//! kernel needs no traffic control for it, only `/dev/net/tun`; and everything goes away with our file descriptors.

use super::{Links, time_over};
use crate::process::{Room, run};
use anyhow::Context as _;
use std::{net::Ipv4Addr, path::Path, sync::Arc};
use tokio::{task::JoinSet, time::sleep};
use tokio_tun::Tun;

/// Leaves room for other headers on any real link below.
const MTU: i32 = 1_400;
/// The last byte of our own address, for clients and probes.
const HOST: u8 = 254;

/// The switch and the networks it joins.
#[derive(Debug)]
pub struct Packets {
    rooms: Vec<Room>,
    network: [u8; 3],
    /// Dropping this ends the switch.
    _switch: JoinSet<()>,
}

impl Packets {
    /// Networks for nodes 1 to `nodes`, with mount tables of their own.
    ///
    /// # Errors
    /// If the kernel does not let us.
    pub async fn start(nodes: u64, links: &Links, log: &Path) -> anyhow::Result<Self> {
        let network = [10, rand::random_range(64..192), rand::random()];
        let mut ports = Vec::new();
        let mut rooms = Vec::new();
        for node in 0..=nodes {
            let name = format!("sgc{}n{node}", std::process::id() % 1_000_000);
            let device =
                Tun::builder().name(&name).mtu(MTU).build().context("cannot make a tun device")?.pop();
            ports.push(device.context("a tun device has one queue")?);
            if node == 0 {
                run(&["ip", "address", "add", &cidr(network, HOST), "dev", &name])?;
                run(&["ip", "link", "set", &name, "up"])?;
                continue;
            }
            let room = Room::open(&["--net", "--mount"], log).await?;
            run(&["ip", "link", "set", &name, "netns", &room.pid()?.to_string()])?;
            let octet = u8::try_from(node).context("there are fewer nodes than addresses")?;
            room.run(&["ip", "address", "add", &cidr(network, octet), "dev", &name])?;
            room.run(&["ip", "link", "set", "lo", "up"])?;
            room.run(&["ip", "link", "set", &name, "up"])?;
            rooms.push(room);
        }
        Ok(Self { rooms, network, _switch: switch(ports, links) })
    }

    /// A node's address.
    pub fn address(&self, node: u64) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, u8::try_from(node).unwrap_or(HOST))
    }

    /// A node's namespaces.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn room(&self, node: u64) -> anyhow::Result<&Room> {
        let at = usize::try_from(node)?.checked_sub(1).context("nodes count from 1")?;
        self.rooms.get(at).with_context(|| format!("there is no network for node {node}"))
    }
}

fn cidr([a, b, c]: [u8; 3], host: u8) -> String {
    format!("{a}.{b}.{c}.{host}/24")
}

/// One task per device; the first device is ours.
fn switch(ports: Vec<Tun>, links: &Links) -> JoinSet<()> {
    let ports: Arc<Vec<Tun>> = Arc::new(ports);
    let mut tasks = JoinSet::new();
    for port in 0..ports.len() {
        let (ports, links) = (Arc::clone(&ports), links.clone());
        tasks.spawn(async move {
            let mut packet = vec![0; 2 * MTU as usize];
            loop {
                let Ok(length) = ports[port].recv(&mut packet).await else { continue };
                if let Some(to) = receiver(&packet[..length], ports.len()) {
                    carry(&ports, port, to, &packet[..length], &links).await;
                }
            }
        });
    }
    tasks
}

/// The device that an IPv4 packet is for.
fn receiver(packet: &[u8], ports: usize) -> Option<usize> {
    let version = packet.first()? >> 4;
    let last = *packet.get(19)?;
    let port = if last == HOST { 0 } else { usize::from(last) };
    (version == 4 && port < ports).then_some(port)
}

async fn carry(ports: &Arc<Vec<Tun>>, from: usize, to: usize, packet: &[u8], links: &Links) {
    let link = links.get(from as u64, to as u64);
    if link.cut || rand::random::<f64>() < link.loss {
        return;
    }
    let time = time_over(link);
    if time.is_zero() {
        // A full or closed device loses packets, as devices do.
        let _ = ports[to].send(packet).await;
        return;
    }
    let (ports, packet) = (Arc::clone(ports), packet.to_vec());
    tokio::spawn(async move {
        sleep(time).await;
        let _ = ports[to].send(&packet).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_goes_to_the_device_of_its_destination_and_others_nowhere() {
        let packet = |to: u8| {
            let mut packet = vec![0x45];
            packet.resize(40, 0);
            packet[19] = to;
            packet
        };
        assert_eq!(receiver(&packet(2), 4), Some(2));
        assert_eq!(receiver(&packet(HOST), 4), Some(0));
        assert_eq!(receiver(&packet(9), 4), None);
        assert_eq!(receiver(&packet(2)[..10], 4), None);
        assert_eq!(receiver(&[0x60; 60], 4), None);
    }
}
