//! What stands in a consortium: members, ledgers, parameters, protocol versions; and what each action does to it.

use crate::ledgers::LEDGERS_MAX;
use crate::member::MEMBERS_MAX;
use crate::{Action, ActionError, LedgerRecord, LedgerSpec, Member, Parameter, Parameters};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use bletchley_consensus::Validators;
use bletchley_crypto::Domain;
use bletchley_primitives::{Address, B256, Height};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Protocol version of every ledger at its genesis.
pub const PROTOCOL_VERSION_FIRST: u32 = 1;
/// Most upgrades over a consortium's whole life.
pub const UPGRADES_MAX: usize = 256;

const STANDING: Domain = Domain("bletchley/consortium/standing/1");

/// What a consortium starts from; part of its genesis document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// The founders.
    pub members: Vec<Member>,
    /// What they set.
    pub parameters: Parameters,
    /// Their first ledgers, the root ledger among them.
    pub ledgers: Vec<LedgerSpec>,
}

/// A member and its time in the consortium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRecord {
    /// The member as it is, or as it was when it left.
    pub member: Member,
    /// Root-ledger block that brought it in; 0 for the founders.
    pub joined_at: Height,
    /// Root-ledger block that took it out; none while it is in.
    pub left_at: Option<Height>,
}

impl MemberRecord {
    /// Whether it is in.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.left_at.is_none()
    }
}

/// From which root-ledger block on a protocol version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// The version.
    pub version: u32,
    /// First block.
    pub height: Height,
}

/// What stands after a block of the root ledger.
///
/// Invariants: at least one active member votes on blocks; so does one of the members of each ledger, and exactly one
/// of those of a ledger with the solo engine; names, keys and nodes belong to one member for ever; chain ids to one
/// ledger; versions and their heights ascend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    members: BTreeMap<String, MemberRecord>,
    parameters: Parameters,
    ledgers: BTreeMap<String, LedgerRecord>,
    upgrades: Vec<Upgrade>,
    /// Every address that a key of a member ever had.
    keys: BTreeSet<Address>,
    /// Every node that a member ever had.
    peers: BTreeSet<B256>,
}

#[derive(RlpEncodable)]
struct MemberRow {
    member: Member,
    joined_at: Height,
    /// 0 while it is in.
    left_at: Height,
}

#[derive(RlpEncodable)]
struct StandingRow {
    members: Vec<MemberRow>,
    parameters: Vec<u64>,
    ledgers: Vec<LedgerRecord>,
    upgrades: Vec<Upgrade>,
    keys: Vec<Address>,
    peers: Vec<B256>,
}

impl Standing {
    /// What stands at genesis.
    ///
    /// # Errors
    /// [`ActionError`]: the rule that the document breaks.
    pub fn new(genesis: &Genesis) -> Result<Self, ActionError> {
        genesis.parameters.check()?;
        let mut standing = Self {
            members: BTreeMap::new(),
            parameters: genesis.parameters,
            ledgers: BTreeMap::new(),
            upgrades: Vec::new(),
            keys: BTreeSet::new(),
            peers: BTreeSet::new(),
        };
        for member in &genesis.members {
            standing.add_member(member, Height(0))?;
        }
        for ledger in &genesis.ledgers {
            standing.create_ledger(ledger, Height(0))?;
        }
        standing.check()?;
        Ok(standing)
    }

    /// What stands when these actions have happened, all of them, in their order, in the block at `height`.
    ///
    /// # Errors
    /// The position of the action that breaks a rule, and the rule. What they make together is held against the rules
    /// under the position of the last one.
    pub fn after(&self, actions: &[Action], height: Height) -> Result<Self, (usize, ActionError)> {
        let mut next = self.clone();
        for (position, action) in actions.iter().enumerate() {
            next.apply(action, height).map_err(|error| (position, error))?;
        }
        let last = actions.len().saturating_sub(1);
        next.check().map_err(|error| (last, error))?;
        if next == *self {
            return Err((last, ActionError::NoChange("all of it is so already".to_owned())));
        }
        Ok(next)
    }

    fn apply(&mut self, action: &Action, height: Height) -> Result<(), ActionError> {
        match action {
            Action::AddMember { member } => self.add_member(member, height),
            Action::RemoveMember { name } => {
                self.active_mut(name)?.left_at = Some(height);
                Ok(())
            }
            Action::SetValidator { name, is_validator } => {
                let record = self.active_mut(name)?;
                if record.member.is_validator == *is_validator {
                    return Err(ActionError::NoChange(format!(
                        "{name} is {} already",
                        if *is_validator { "a validator" } else { "no validator" }
                    )));
                }
                record.member.is_validator = *is_validator;
                Ok(())
            }
            Action::UpdateMember { member } => self.update_member(member),
            Action::SetParameter { parameter } => self.set(parameter),
            Action::CreateLedger { ledger } => {
                ledger.check_voted()?;
                self.create_ledger(ledger, height)?;
                self.check_sharers(ledger)
            }
            Action::Upgrade { version, height: from } => self.schedule(*version, *from, height),
        }
    }

    fn active_mut(&mut self, name: &str) -> Result<&mut MemberRecord, ActionError> {
        let unknown = || ActionError::NoMember(name.chars().take(64).collect());
        let record = self.members.get_mut(name).ok_or_else(unknown)?;
        if record.is_active() { Ok(record) } else { Err(ActionError::HasLeft(name.to_owned())) }
    }

    fn take_key(&mut self, key: Address) -> Result<(), ActionError> {
        if self.keys.insert(key) { Ok(()) } else { Err(ActionError::KeyTaken(key)) }
    }

    fn take_peer(&mut self, peer: B256) -> Result<(), ActionError> {
        if self.peers.insert(peer) { Ok(()) } else { Err(ActionError::PeerTaken(peer)) }
    }

    fn add_member(&mut self, member: &Member, height: Height) -> Result<(), ActionError> {
        member.check()?;
        if self.members.contains_key(&member.name) {
            return Err(ActionError::NameTaken(member.name.clone()));
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(ActionError::TooManyMembers);
        }
        self.take_peer(member.peer)?;
        member.keys().into_iter().try_for_each(|key| self.take_key(key))?;
        let record = MemberRecord { member: member.clone(), joined_at: height, left_at: None };
        self.members.insert(member.name.clone(), record);
        Ok(())
    }

    fn update_member(&mut self, member: &Member) -> Result<(), ActionError> {
        member.check()?;
        let before = self.active_mut(&member.name)?.member.clone();
        if before == *member {
            return Err(ActionError::NoChange(format!("{} is so already", member.name)));
        }
        if before.is_validator != member.is_validator {
            return Err(ActionError::SeatInUpdate(member.name.clone()));
        }
        if before.peer != member.peer {
            self.take_peer(member.peer)?;
        }
        for (old, new) in before.keys().into_iter().zip(member.keys()) {
            if old != new {
                self.take_key(new)?;
            }
        }
        self.active_mut(&member.name)?.member = member.clone();
        Ok(())
    }

    fn set(&mut self, parameter: &Parameter) -> Result<(), ActionError> {
        parameter.check()?;
        let ledger = |name: &String| ActionError::NoLedger(name.chars().take(64).collect());
        match parameter {
            Parameter::BlockMs { ledger: name, value } => {
                self.ledgers.get_mut(name).ok_or_else(|| ledger(name))?.spec.block_ms = *value;
            }
            Parameter::HeartbeatMs { ledger: name, value } => {
                let spec = &mut self.ledgers.get_mut(name).ok_or_else(|| ledger(name))?.spec;
                spec.heartbeat_ms = *value;
                spec.check_heartbeat()?;
            }
            Parameter::ProposalBlocks { value } => self.parameters.proposal_blocks = *value,
            Parameter::Rule { value } => self.parameters.rule = *value,
        }
        Ok(())
    }

    fn create_ledger(&mut self, spec: &LedgerSpec, height: Height) -> Result<(), ActionError> {
        spec.check()?;
        if self.ledgers.contains_key(&spec.name) {
            return Err(ActionError::LedgerTaken(spec.name.clone()));
        }
        if self.ledgers.len() >= LEDGERS_MAX {
            return Err(ActionError::TooManyLedgers);
        }
        if spec.chain_id > 0 && self.ledgers.values().any(|ledger| ledger.spec.chain_id == spec.chain_id) {
            return Err(ActionError::ChainIdTaken(spec.chain_id));
        }
        spec.members.iter().try_for_each(|name| self.active_mut(name).map(drop))?;
        self.ledgers.insert(spec.name.clone(), LedgerRecord { spec: spec.clone(), created_at: height });
        Ok(())
    }

    /// Whether a ledger that a vote creates suits those who share it: with the solo engine nobody could follow the one who
    /// decides, and one alone has nobody to agree with.
    fn check_sharers(&self, spec: &LedgerSpec) -> Result<(), ActionError> {
        let name = spec.name.clone();
        if spec.is_solo() {
            let listed = spec.members.len();
            return if listed == 1 { Ok(()) } else { Err(ActionError::SoloMembers { name, listed }) };
        }
        let validators = self.validating().filter(|member| spec.is_shared_with(&member.name)).count();
        if validators == 1 {
            return Err(ActionError::AgreesAlone { name, engine: spec.engine.clone() });
        }
        Ok(())
    }

    fn schedule(&mut self, version: u32, from: Height, now: Height) -> Result<(), ActionError> {
        if self.upgrades.len() >= UPGRADES_MAX {
            return Err(ActionError::TooManyUpgrades);
        }
        let last = self.upgrades.last().copied();
        let (before, after) =
            last.map_or((PROTOCOL_VERSION_FIRST, now), |last| (last.version, last.height.max(now)));
        if version <= before {
            return Err(ActionError::VersionNotLater { version, before });
        }
        if from <= after {
            return Err(ActionError::HeightNotLater { height: from, after });
        }
        self.upgrades.push(Upgrade { version, height: from });
        Ok(())
    }

    fn check(&self) -> Result<(), ActionError> {
        self.parameters.check()?;
        if self.validating().next().is_none() {
            return Err(ActionError::NoValidator);
        }
        let mut endpoints = BTreeSet::new();
        if let Some(member) = self.active().find(|member| !endpoints.insert(&member.endpoint)) {
            return Err(ActionError::EndpointTaken(member.endpoint.clone()));
        }
        self.ledgers.values().try_for_each(|ledger| {
            let spec = &ledger.spec;
            spec.check_pace()?;
            let validators = self.validating().filter(|member| spec.is_shared_with(&member.name)).count();
            match validators {
                0 => Err(ActionError::LedgerWithoutValidator(spec.name.clone())),
                2.. if spec.is_solo() => Err(ActionError::SoloLedger { name: spec.name.clone(), validators }),
                _ => Ok(()),
            }
        })
    }

    fn validating(&self) -> impl Iterator<Item = &Member> {
        self.active().filter(|member| member.is_validator)
    }

    /// The members that are in, by name.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|record| record.is_active()).map(|record| &record.member)
    }

    /// All members there ever were, by name.
    pub fn records(&self) -> impl Iterator<Item = &MemberRecord> {
        self.members.values()
    }

    /// The member with this name, whether it is in or has left.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&MemberRecord> {
        self.members.get(name)
    }

    /// The active member whose administrator this is.
    #[must_use]
    pub fn administered_by(&self, administrator: Address) -> Option<&Member> {
        self.active().find(|member| member.administrator == administrator)
    }

    /// Who votes on the blocks of ledgers that all members share, the root ledger among them.
    #[must_use]
    pub fn validators(&self) -> Validators {
        Validators::new(self.validating().map(Member::as_validator))
    }

    /// Who votes on the blocks of a ledger; none when there is no such ledger.
    #[must_use]
    pub fn validators_of(&self, ledger: &str) -> Option<Validators> {
        let spec = &self.ledgers.get(ledger)?.spec;
        let shared = self.validating().filter(|member| spec.is_shared_with(&member.name));
        Some(Validators::new(shared.map(Member::as_validator)))
    }

    /// The active members that share a ledger, by name; none when there is no such ledger.
    #[must_use]
    pub fn ledger_members(&self, ledger: &str) -> Option<Vec<&Member>> {
        let spec = &self.ledgers.get(ledger)?.spec;
        Some(self.active().filter(|member| spec.is_shared_with(&member.name)).collect())
    }

    /// The ledgers, by name.
    pub fn ledgers(&self) -> impl Iterator<Item = &LedgerRecord> {
        self.ledgers.values()
    }

    /// The ledger with this name.
    #[must_use]
    pub fn ledger(&self, name: &str) -> Option<&LedgerRecord> {
        self.ledgers.get(name)
    }

    /// What the members set.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The upgrades that were agreed on, oldest first.
    #[must_use]
    pub fn upgrades(&self) -> &[Upgrade] {
        &self.upgrades
    }

    /// Protocol version that the block at `height` of the root ledger follows, and so does a block of another ledger
    /// whose anchor that is.
    #[must_use]
    pub fn protocol_version(&self, height: Height) -> u32 {
        let upgrades = self.upgrades.iter().rev();
        let holds = upgrades.into_iter().find(|upgrade| upgrade.height <= height);
        holds.map_or(PROTOCOL_VERSION_FIRST, |upgrade| upgrade.version)
    }

    /// One digest over all of it, to compare members with each other.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let row = StandingRow {
            members: self
                .members
                .values()
                .map(|record| MemberRow {
                    member: record.member.clone(),
                    joined_at: record.joined_at,
                    left_at: record.left_at.unwrap_or_default(),
                })
                .collect(),
            parameters: self.parameters.row(),
            ledgers: self.ledgers.values().cloned().collect(),
            upgrades: self.upgrades.clone(),
            keys: self.keys.iter().copied().collect(),
            peers: self.peers.iter().copied().collect(),
        };
        STANDING.digest(&[&alloy_rlp::encode(row)])
    }
}

/// Standing is shared by every version in which it is the same.
pub type SharedStanding = Arc<Standing>;
