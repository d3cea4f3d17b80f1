//! The scenarios by name, and what each needs.

use crate::{cluster::Network, host::Need};
use std::path::Path;

/// A scenario and its needs.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// What it needs from the machine.
    pub needs: &'static [Need],
    /// Signers.
    pub nodes: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Calm,
    KillLeader,
    KillFollowers,
    Freeze,
    CutOneWay,
    CutTwoWays,
    Delay,
    Drop,
    FullDisk,
    SyncError,
    SlowDisk,
    HungDisk,
    LogReaders,
    ClockJumps,
    OldData,
    Clone,
    Twins,
    RestartAll,
    Upgrade,
    Mix,
    Strangers,
    Greedy,
    FullState,
    Refusals,
    AllOldData,
}

/// Every scenario, in the order of a full pass.
pub const ALL: &[Scenario] = &[
    Scenario { name: "calm", about: "no faults: the storm alone", needs: &[], nodes: 3, kind: Kind::Calm },
    Scenario {
        name: "kill-leader",
        about: "SIGKILL of the leader, started again after a while",
        needs: &[],
        nodes: 3,
        kind: Kind::KillLeader,
    },
    Scenario {
        name: "kill-followers",
        about: "SIGKILL of as many followers as can be spared, at once",
        needs: &[],
        nodes: 5,
        kind: Kind::KillFollowers,
    },
    Scenario {
        name: "freeze",
        about: "SIGSTOP, mostly of the leader, and SIGCONT seconds later",
        needs: &[],
        nodes: 3,
        kind: Kind::Freeze,
    },
    Scenario {
        name: "cut-one-way",
        about: "a node hears the others but is not heard, or is heard but does not hear",
        needs: &[],
        nodes: 5,
        kind: Kind::CutOneWay,
    },
    Scenario {
        name: "cut-two-ways",
        about: "a node, mostly the leader, cut off from the others but not from its clients",
        needs: &[],
        nodes: 3,
        kind: Kind::CutTwoWays,
    },
    Scenario {
        name: "delay",
        about: "all ways, or those of one node, slower by up to 300 ms and uneven",
        needs: &[],
        nodes: 3,
        kind: Kind::Delay,
    },
    Scenario {
        name: "drop",
        about: "2 to 20 % of all packets between nodes lost",
        needs: &[Need::Packets],
        nodes: 3,
        kind: Kind::Drop,
    },
    Scenario {
        name: "full-disk",
        about: "a node's file system full to the last block, and room again",
        needs: &[Need::Mounts],
        nodes: 3,
        kind: Kind::FullDisk,
    },
    Scenario {
        name: "sync-error",
        about: "fdatasync of a node fails with EIO, once or from then on",
        needs: &[Need::SyscallErrors],
        nodes: 3,
        kind: Kind::SyncError,
    },
    Scenario {
        name: "slow-disk",
        about: "every fdatasync of the leader takes 30 ms longer, until leadership has moved to a faster node",
        needs: &[Need::SyscallErrors],
        nodes: 3,
        kind: Kind::SlowDisk,
    },
    Scenario {
        name: "hung-disk",
        about: "an fdatasync of a node does not end for a while: it must say so, and the others go on",
        needs: &[Need::SyscallErrors],
        nodes: 3,
        kind: Kind::HungDisk,
    },
    Scenario {
        name: "log-readers",
        about: "whatever reads the logs of all nodes stops, dies, or has no room",
        needs: &[],
        nodes: 3,
        kind: Kind::LogReaders,
    },
    Scenario {
        name: "clock-jumps",
        about: "a node's wall clock jumps by seconds to an hour, either way, and back",
        needs: &[Need::FalseClock],
        nodes: 3,
        kind: Kind::ClockJumps,
    },
    Scenario {
        name: "old-data",
        about: "an older copy of its data directory put back on one node",
        needs: &[],
        nodes: 3,
        kind: Kind::OldData,
    },
    Scenario {
        name: "clone",
        about: "a node's directory copied and started a second time beside it",
        needs: &[],
        nodes: 3,
        kind: Kind::Clone,
    },
    Scenario {
        name: "twins",
        about: "a node freezes, a copy of it takes its address, and it goes on",
        needs: &[],
        nodes: 3,
        kind: Kind::Twins,
    },
    Scenario {
        name: "restart-all",
        about: "every node killed at once and started again",
        needs: &[],
        nodes: 5,
        kind: Kind::RestartAll,
    },
    Scenario {
        name: "upgrade",
        about: "the last release's program rolled to this one, node by node",
        needs: &[],
        nodes: 3,
        kind: Kind::Upgrade,
    },
    Scenario {
        name: "mix",
        about: "kills, freezes, cuts and delays, drawn one after the other",
        needs: &[],
        nodes: 5,
        kind: Kind::Mix,
    },
    Scenario {
        name: "strangers",
        about: "thousands of connections without a certificate on every port of a node, while another starts again",
        needs: &[],
        nodes: 3,
        kind: Kind::Strangers,
    },
    Scenario {
        name: "greedy-client",
        about: "a client that follows its keys and asks for lists of them without end, on eight connections",
        needs: &[],
        nodes: 3,
        kind: Kind::Greedy,
    },
    Scenario {
        name: "full-state",
        about: "a tenant fills its para key while a member is away, which comes back by way of a snapshot",
        needs: &[],
        nodes: 3,
        kind: Kind::FullState,
    },
    Scenario {
        name: "refusals",
        about: "a tenant is refused hundreds of times a second, in every way",
        needs: &[],
        nodes: 3,
        kind: Kind::Refusals,
    },
    Scenario {
        name: "all-old-data",
        about: "older copies put back on every node at once: clients tell, keys are halted, an operator raises them",
        needs: &[],
        nodes: 3,
        kind: Kind::AllOldData,
    },
];

impl Scenario {
    /// Why it cannot be run here, with this earlier program and over this network.
    pub fn lacking(&self, previous: Option<&Path>, network: Option<Network>) -> Option<String> {
        if self.kind == Kind::Upgrade && previous.is_none() {
            return Some("there is no earlier release to roll from; --previous names its program".into());
        }
        if self.kind == Kind::Drop && network == Some(Network::Proxies) {
            return Some("proxies have no packets to lose".into());
        }
        if self.kind == Kind::Strangers && network == Some(Network::Packets) {
            return Some("strangers come from addresses of loopback".into());
        }
        if self.kind == Kind::FullState && network == Some(Network::Packets) {
            return Some("a member is cut off from before its start, by way of the proxies".into());
        }
        if self.kind == Kind::Twins && network == Some(Network::Packets) {
            return Some("a copy takes an address by way of the proxies".into());
        }
        self.needs.iter().find_map(|need| need.lacking())
    }
}
