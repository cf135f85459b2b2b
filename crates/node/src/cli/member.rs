//! `bletchley member`.

use crate::ceremony::{Draft, MemberRequest};
use crate::config::{API_PORT_DEFAULT, Listen, MemberConfig};
use crate::data::{CONSORTIUM, DEFAULT_DATA_DIR, DataDir};
use crate::identity::OwnKeys;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use bletchley_consortium::MemberError;
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "`bletchley consortium --help` tells the whole way from a name to running nodes.")]
pub(super) struct MemberCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make this member's keys, and a signed request for whoever keeps the draft.
    #[command(
        after_help = "Examples:\n  bletchley member request --name bank-a --endpoint node.bank-a.example:30300\n  bletchley member request --name regulator --endpoint 192.0.2.7:30300 --observer --data /var/lib/bletchley\n\nThe keys stay in the data folder; the request holds their public halves. Back the folder up."
    )]
    Request(Request),
    /// Take a member into the draft whose request is signed with its keys.
    #[command(
        after_help = "Example:\n  bletchley member admit bank-a.request.json --draft consortium.json\n\nA request proves who holds the keys, not who sent the file: compare the keys with the member, by voice."
    )]
    Admit(Admit),
}

#[derive(Debug, Args)]
struct Request {
    /// Name, unique in the consortium: lower-case letters, digits and hyphens.
    #[arg(long)]
    name: String,
    /// Where other members' nodes reach this one.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,
    /// Follow, check and answer clients, but do not vote on blocks.
    #[arg(long)]
    observer: bool,
    /// Folder for this member's keys, and later its ledgers.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, env = "BLETCHLEY_DATA")]
    data: PathBuf,
    /// File for the request. [default: NAME.request.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Admit {
    /// The member's request.
    request: PathBuf,
    /// The draft.
    #[arg(long, value_name = "FILE", default_value = CONSORTIUM)]
    draft: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl MemberCommand {
    pub(super) fn run(self) -> Result<()> {
        match self.action {
            Action::Request(request) => request.run(),
            Action::Admit(admit) => admit.run(),
        }
    }
}

impl Request {
    fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let data = DataDir::new(&self.data);
        if data.genesis().exists() {
            bail!(
                "{} belongs to a consortium already (it has a genesis document); choose another folder with --data",
                data.root().display()
            );
        }
        // Before any key is made: what is wrong with the words.
        let endpoint = || MemberError::Endpoint(self.endpoint.clone());
        let port: u16 =
            self.endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).ok_or_else(endpoint)?;
        let keys = OwnKeys::ensure(&data)?;
        let request = MemberRequest::sign(&keys, &self.name, &self.endpoint, !self.observer)?;
        let out = self.out.unwrap_or_else(|| PathBuf::from(format!("{}.request.json", self.name)));
        request.write(&out)?;
        // The node looks here for who it is while the genesis document does not name it.
        request.write(&data.request())?;
        let listen = Listen {
            p2p: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            api: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), API_PORT_DEFAULT),
        };
        if !data.config().exists() {
            let text = MemberConfig::text(&self.name, &listen, &BTreeMap::new());
            std::fs::write(data.config(), text)
                .with_context(|| format!("writing {}", data.config().display()))?;
        }
        let member = &request.member;
        output.event(
            &json!({ "request": out, "config": data.config(), "data": data.root(), "member": member }),
        );
        output.line(format!("{} {}", output.good("written"), out.display()));
        output.line(format!("  peer key       {}", member.peer));
        output.line(format!("  validator      {}", member.validator));
        output.line(format!("  administrator  {}", member.administrator));
        output.line(format!("  host           {}", member.host));
        output.line(format!(
            "Send that file to whoever keeps the draft. The keys are in {}; back them up.",
            data.keys().display()
        ));
        output.line(format!(
            "When the genesis document comes back, put it beside {} and run: bletchley node start --config {0}",
            data.config().display()
        ));
        Ok(())
    }
}

impl Admit {
    fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let mut draft = Draft::read(&self.draft)?;
        let request = MemberRequest::read(&self.request)?;
        draft.admit(&request).with_context(|| format!("admitting {}", self.request.display()))?;
        draft.write(&self.draft)?;
        let (member, count) = (&request.member, draft.members.len());
        output.event(&json!({ "admitted": member, "members": count }));
        output.line(format!(
            "{} {} ({}) to {}, which now has {count} member{}",
            output.good("admitted"),
            member.name,
            if member.is_validator { "validator" } else { "observer" },
            draft.name,
            if count == 1 { "" } else { "s" }
        ));
        output.line(format!("  administrator {}   peer {}", member.administrator, member.peer));
        Ok(())
    }
}
