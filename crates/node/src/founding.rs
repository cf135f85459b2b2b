//! Consortia that are founded on one computer, to try them out: every member's part of the ceremony in one process, each
//! in a folder of its own.

use crate::accounts::Accounts;
use crate::ceremony::{Draft, MemberRequest};
use crate::config::{Listen, MemberConfig, P2P_PORT_DEFAULT};
use crate::data::{CONSORTIUM as CONSORTIUM_FILE, DataDir};
use crate::genesis::{
    Agreement, Agreements, DEFAULT_CHAIN_ID, DEV_CHAIN_ID, EngineName, Founding, NetworkGenesis,
};
use crate::identity::OwnKeys;
use crate::signals::wall_now_ms;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Names that members get, in this order.
pub const NAMES: [&str; 13] = [
    "bank-a",
    "bank-b",
    "manufacturer",
    "regulator",
    "insurer",
    "carrier",
    "customs",
    "auditor",
    "utility",
    "hospital",
    "university",
    "notary",
    "port-authority",
];
/// Name of the network and of its one member, when it is for development.
const DEVELOPMENT: &str = "development";
/// Name of any other consortium that `up` founds.
const CONSORTIUM: &str = "bletchley";
/// From a member's port for clients to its port for other members.
const P2P_PORT_OFFSET: u16 = 100;

/// Where Linux says which ports it gives to outgoing connections.
const OUTGOING_RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The first of them where that cannot be read: Linux's own default, and below that of every other system.
const OUTGOING_FIRST_DEFAULT: u16 = 32_768;
/// The lowest port that is picked for a member: below are those that well-known servers have.
const PICKED_LOWEST: u16 = 10_000;

/// What a consortium on one computer is founded with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many members, at most as many as there are [`NAMES`].
    pub members: usize,
    /// The engine of both ledgers; what suits the number of members when none is named.
    pub engine: Option<EngineName>,
    /// Least time between blocks.
    pub block_ms: u64,
    /// First port; 0 for any that are free and that the system does not give to outgoing connections.
    pub port_base: u16,
}

/// Makes the folder of a network with one member, who needs no request to admit itself.
///
/// # Errors
/// When the folder cannot be written, or no ledger can start from this.
pub fn alone(data: &DataDir, dev: bool, block_ms: u64) -> Result<()> {
    let keys = OwnKeys::ensure(data)?;
    let name = if dev { DEVELOPMENT } else { CONSORTIUM };
    let member = if dev { DEVELOPMENT } else { first_name() };
    let genesis = NetworkGenesis::new(Founding {
        name: name.to_owned(),
        dev,
        chain_id: if dev { DEV_CHAIN_ID } else { DEFAULT_CHAIN_ID },
        members: vec![keys.member(member, &format!("127.0.0.1:{P2P_PORT_DEFAULT}"), true)],
        accounts: Accounts::open(data, dev)?.list(),
        agreements: if dev {
            Agreements::development()
        } else {
            Agreements::alike(Agreement::new(EngineName::Solo, block_ms))
        },
        time_ms: wall_now_ms(),
    })?;
    genesis.write(data)
}

const fn first_name() -> &'static str {
    let [first, ..] = NAMES;
    first
}

/// Founds a consortium in a new folder: whole or not at all.
///
/// # Errors
/// When the folder cannot be written, or the plan is none.
pub fn found(root: &DataDir, plan: &Plan) -> Result<()> {
    let Some(names) = NAMES.get(..plan.members).filter(|names| !names.is_empty()) else {
        bail!("a consortium on one computer has 1 to {} members, not {}", NAMES.len(), plan.members);
    };
    let folder = root.members();
    let staged = DataDir::new(folder.with_extension("part"));
    if staged.root().exists() {
        std::fs::remove_dir_all(staged.root())
            .with_context(|| format!("removing {}, which was never finished", staged.root().display()))?;
    }
    let mut draft = Draft::new(CONSORTIUM, DEFAULT_CHAIN_ID, plan.engine, plan.block_ms)?;
    draft.accounts = Accounts::open(root, false)?.list();
    let ports = ports(plan.port_base, names.len())?;
    for (name, listen) in names.iter().zip(&ports) {
        let data = DataDir::new(staged.root().join(name));
        let keys = OwnKeys::ensure(&data)?;
        draft.admit(&MemberRequest::sign(&keys, name, &listen.p2p.to_string(), true)?)?;
    }
    let genesis = draft.build(wall_now_ms())?;
    for (name, listen) in names.iter().zip(&ports) {
        let data = DataDir::new(staged.root().join(name));
        genesis.write(&data)?;
        write_config(&data.config(), name, listen, &BTreeMap::new())?;
    }
    draft.write(&staged.root().join(CONSORTIUM_FILE))?;
    std::fs::rename(staged.root(), &folder).with_context(|| format!("writing {}", folder.display()))?;
    std::fs::File::open(root.root()).and_then(|folder| folder.sync_all())?;
    Ok(())
}

/// Gives every member of a consortium on one computer other ports.
///
/// # Errors
/// When no ports are free, or a file cannot be written.
pub fn move_ports(root: &DataDir, draft: &Draft, port_base: u16) -> Result<()> {
    let ports = ports(port_base, draft.members.len())?;
    let endpoints: BTreeMap<String, String> = draft
        .members
        .iter()
        .zip(&ports)
        .map(|(member, listen)| (member.name.clone(), listen.p2p.to_string()))
        .collect();
    for (member, listen) in draft.members.iter().zip(&ports) {
        let path = root.member(&member.name).config();
        write_config(&path, &member.name, listen, &endpoints)?;
    }
    Ok(())
}

fn write_config(
    path: &Path,
    member: &str,
    listen: &Listen,
    endpoints: &BTreeMap<String, String>,
) -> Result<()> {
    let text = MemberConfig::text(member, listen, endpoints);
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Where each of `count` members listens, all on the loopback interface.
fn ports(base: u16, count: usize) -> Result<Vec<Listen>> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if base == 0 {
        // Clients' ports are free at every start; those between members stand in the genesis document.
        let picked = picked_ports(&OutgoingPorts::of_system(), count)?;
        return Ok(picked.into_iter().map(|p2p| Listen { p2p: at(p2p), api: at(0) }).collect());
    }
    let port = |offset: usize, more: u16| {
        let offset = u16::try_from(offset).ok()?;
        base.checked_add(offset)?.checked_add(more)
    };
    (0..count)
        .map(|index| match (port(index, P2P_PORT_OFFSET), port(index, 0)) {
            (Some(p2p), Some(api)) => Ok(Listen { p2p: at(p2p), api: at(api) }),
            _ => bail!("ports from {base} on run out of numbers; choose a lower --port-base"),
        })
        .collect()
}

/// The ports that a system gives to outgoing connections, first and last. A member that listened on one of them might find it
/// taken when it comes back, by whatever connected meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OutgoingPorts {
    first: u16,
    last: u16,
}

impl OutgoingPorts {
    fn of_system() -> Self {
        Self::read(&std::fs::read_to_string(OUTGOING_RANGE_FILE).unwrap_or_default())
    }

    /// Of the file's two numbers.
    fn read(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        let (first, last) = (numbers.next(), numbers.next());
        Self { first: first.unwrap_or(OUTGOING_FIRST_DEFAULT), last: last.unwrap_or(u16::MAX) }
    }

    /// The ports that a member may keep, in the order in which they are tried: below the range, and above it where there is
    /// little room below.
    fn lasting(self) -> impl Iterator<Item = u16> + Clone {
        (PICKED_LOWEST..self.first).chain(self.last.saturating_add(1).max(PICKED_LOWEST)..u16::MAX)
    }
}

/// So many free ports that stay free while nobody listens on them, from a place on that differs from run to run.
fn picked_ports(outgoing: &OutgoingPorts, count: usize) -> Result<Vec<u16>> {
    let mut draw = [0u8; 8];
    getrandom::fill(&mut draw).context("asking the operating system for random bytes")?;
    let lasting = outgoing.lasting();
    let room = u64::try_from(lasting.clone().count()).unwrap_or(u64::MAX).max(1);
    let start = usize::try_from(u64::from_le_bytes(draw) % room).unwrap_or_default();
    // Held together until all are known, so that no two are the same.
    let held: Vec<(u16, TcpListener)> = lasting
        .clone()
        .skip(start)
        .chain(lasting.take(start))
        .filter_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))
        .take(count)
        .collect();
    if held.len() < count {
        let OutgoingPorts { first, last } = outgoing;
        bail!(
            "there are no {count} free ports outside of {first} to {last}, which this system gives to outgoing connections; \
             name one with --port-base"
        );
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn picked_ports_are_free_and_never_those_of_outgoing_connections() {
        let outgoing = OutgoingPorts::read("20000\t50000\n");
        assert_eq!(outgoing, OutgoingPorts { first: 20_000, last: 50_000 });
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken_port = taken.local_addr().unwrap().port();
        let narrow = OutgoingPorts { first: PICKED_LOWEST, last: taken_port - 1 };
        for ports in [picked_ports(&outgoing, 13).unwrap(), picked_ports(&narrow, 13).unwrap()] {
            assert_eq!(ports.iter().collect::<std::collections::BTreeSet<_>>().len(), 13, "{ports:?}");
            assert!(!ports.contains(&taken_port), "{ports:?}");
        }
        let picked = picked_ports(&outgoing, 13).unwrap();
        assert!(picked.iter().all(|port| !(20_000..=50_000).contains(port)), "{picked:?}");
        let none = OutgoingPorts { first: 1_024, last: u16::MAX };
        assert!(picked_ports(&none, 1).unwrap_err().to_string().contains("--port-base"));
    }

    #[test]
    fn the_range_is_the_default_where_the_system_says_none() {
        let default = OutgoingPorts { first: OUTGOING_FIRST_DEFAULT, last: u16::MAX };
        assert_eq!([OutgoingPorts::read(""), OutgoingPorts::read("no numbers")], [default; 2]);
    }
}
