//! What administrators allow: who publishes, which hosts answer and how many must agree, and what a call may cost.
//! Policy always overrides what code asks for.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

use crate::manifest::Isolation;

/// Most publishers, hosts, callers of one cryptlet, or cryptlets with a list of callers.
pub const LIST_MAX: usize = 256;
/// Most hosts whose signatures one receipt can carry.
pub const QUORUM_MAX: u64 = 32;
/// Most kinds of evidence.
pub const EVIDENCE_KINDS_MAX: usize = 16;
/// Most fuel that any policy can allow one call.
pub const FUEL_MAX: u64 = 1 << 40;
/// Longest time that any policy can allow one call.
pub const TIMEOUT_MS_MAX: u64 = 60_000;
/// Longest text of a policy.
const TEXT_SIZE_BYTES_MAX: usize = 64;

/// Contracts that may call a cryptlet. A cryptlet without a rule may be called by every contract.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CallerRule {
    /// Name of the cryptlet.
    pub cryptlet: String,
    /// The contracts, in ascending order; empty allows every contract.
    pub callers: Vec<Address>,
}

/// What administrators allow. Lists are in ascending order without repetition.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
pub struct Policy {
    /// How many policies came before, so that none can be repeated.
    pub sequence: u64,
    /// Who may publish; empty allows everyone.
    pub publishers: Vec<Address>,
    /// Hosts that may answer.
    pub hosts: Vec<Address>,
    /// Kinds of evidence that count; a host with another kind does not.
    pub evidence: Vec<String>,
    /// How many hosts must sign a receipt.
    pub quorum: u64,
    /// Whether one host's word is enough. A quorum of one is refused without it.
    pub single_host_allowed: bool,
    /// Most fuel of one call.
    pub fuel_max: u64,
    /// Longest time of one call, every attempt included.
    pub timeout_ms: u64,
    /// Most calls of one sender that a fabric has under way.
    pub calls_per_sender_max: u64,
    /// Who may call what, in ascending order of the cryptlet's name.
    pub callers: Vec<CallerRule>,
    /// How far every cryptlet is kept from its host, at least; absent leaves it to manifest and host.
    pub isolation: Option<Isolation>,
}

/// Why a policy is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A list is too long, not in ascending order, or repeats something.
    #[error("policy: `{0}` must be in ascending order, without repetition, and not longer than its bound")]
    List(&'static str),
    /// The quorum cannot be met.
    #[error(
        "policy: a quorum of {quorum} cannot be met by {hosts} hosts; name more hosts or lower the quorum"
    )]
    Quorum {
        /// The quorum.
        quorum: u64,
        /// Hosts named.
        hosts: usize,
    },
    /// One host would decide alone.
    #[error("policy: a quorum of one lets a single host decide; set `single-host-allowed` if that is meant")]
    SingleHost,
    /// A budget is zero or above what any policy may allow.
    #[error("policy: `{what}` is {found}, allowed are 1 to {most}")]
    Budget {
        /// Which budget.
        what: &'static str,
        /// What it says.
        found: u64,
        /// The most it may say.
        most: u64,
    },
}

fn ascending<T: Ord>(what: &'static str, list: &[T], most: usize) -> Result<(), PolicyError> {
    let sorted = list.iter().zip(list.iter().skip(1)).all(|(one, next)| one < next);
    if sorted && list.len() <= most { Ok(()) } else { Err(PolicyError::List(what)) }
}

impl Policy {
    /// A policy for a single host, asked for by name: what a development ledger starts with.
    #[must_use]
    pub fn single_host(host: Address) -> Self {
        Self {
            sequence: 0,
            publishers: Vec::new(),
            hosts: vec![host],
            evidence: vec![crate::registry::EVIDENCE_SOFTWARE.to_owned()],
            quorum: 1,
            single_host_allowed: true,
            fuel_max: 2_000_000_000,
            timeout_ms: 10_000,
            calls_per_sender_max: 64,
            callers: Vec::new(),
            isolation: None,
        }
    }

    /// How far every cryptlet is kept from its host, at least.
    #[must_use]
    pub fn least_isolation(&self) -> Isolation {
        self.isolation.unwrap_or_default()
    }

    /// Whether the policy can be applied.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn check(&self) -> Result<(), PolicyError> {
        ascending("publishers", &self.publishers, LIST_MAX)?;
        ascending("hosts", &self.hosts, LIST_MAX)?;
        ascending("evidence", &self.evidence, EVIDENCE_KINDS_MAX)?;
        let names: Vec<&str> = self.callers.iter().map(|rule| rule.cryptlet.as_str()).collect();
        ascending("callers", &names, LIST_MAX)?;
        for rule in &self.callers {
            ascending("callers", &rule.callers, LIST_MAX)?;
        }
        let texts = names.iter().copied().chain(self.evidence.iter().map(String::as_str));
        if texts.into_iter().any(|text| text.is_empty() || text.len() > TEXT_SIZE_BYTES_MAX) {
            return Err(PolicyError::List("evidence or callers"));
        }
        let hosts = self.hosts.len();
        if self.quorum == 0 || self.quorum > QUORUM_MAX || self.quorum > hosts as u64 {
            return Err(PolicyError::Quorum { quorum: self.quorum, hosts });
        }
        if self.quorum == 1 && !self.single_host_allowed {
            return Err(PolicyError::SingleHost);
        }
        for (what, found, most) in [
            ("fuel_max", self.fuel_max, FUEL_MAX),
            ("timeout_ms", self.timeout_ms, TIMEOUT_MS_MAX),
            ("calls_per_sender_max", self.calls_per_sender_max, u64::from(u32::MAX)),
        ] {
            if found == 0 || found > most {
                return Err(PolicyError::Budget { what, found, most });
            }
        }
        Ok(())
    }

    /// Whether this publisher may publish.
    #[must_use]
    pub fn lets_publish(&self, publisher: Address) -> bool {
        self.publishers.is_empty() || self.publishers.binary_search(&publisher).is_ok()
    }

    /// Whether this contract may call the cryptlet of this name.
    #[must_use]
    pub fn lets_call(&self, cryptlet: &str, caller: Address) -> bool {
        self.callers
            .binary_search_by(|rule| rule.cryptlet.as_str().cmp(cryptlet))
            .ok()
            .and_then(|at| self.callers.get(at))
            .is_none_or(|rule| rule.callers.is_empty() || rule.callers.binary_search(&caller).is_ok())
    }

    /// Whether this host may answer, if it is registered with a kind of evidence that counts.
    #[must_use]
    pub fn names_host(&self, host: Address) -> bool {
        self.hosts.binary_search(&host).is_ok()
    }

    /// Whether evidence of this kind counts.
    #[must_use]
    pub fn accepts_evidence(&self, kind: &str) -> bool {
        self.evidence.binary_search_by(|accepted| accepted.as_str().cmp(kind)).is_ok()
    }
}

/// Why a call may not run. The words are part of the format: they stand in refused receipts, and everyone derives
/// them again (specs/receipt.md: Refusals).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// There is no policy at the anchor.
    #[error("the registry has no policy")]
    NoPolicy,
    /// Too few of the hosts that the policy names can sign.
    #[error("the policy asks for {quorum} hosts, {usable} can answer")]
    Hosts {
        /// Hosts that must sign.
        quorum: u64,
        /// Hosts that are named, registered, and have evidence that counts.
        usable: u64,
    },
    /// No such cryptlet.
    #[error("no cryptlet {0} is registered")]
    Unknown(B256),
    /// Revoked.
    #[error("cryptlet {name} {version} is revoked")]
    Revoked {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The contract is not on the list.
    #[error("contract {caller:#x} may not call cryptlet {name}")]
    Caller {
        /// The contract.
        caller: Address,
        /// Name of the cryptlet.
        name: String,
    },
    /// No such method.
    #[error("cryptlet {name} {version} has no method {method}")]
    Method {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The method asked for.
        method: String,
    },
}

/// How many calls each sender has under way.
#[derive(Debug, Default)]
pub(crate) struct Shares(BTreeMap<Address, u64>);

impl Shares {
    /// Counts one more call of `sender`, unless it has `most` under way.
    pub(crate) fn take(&mut self, sender: Address, most: u64) -> bool {
        let taken = self.0.entry(sender).or_default();
        if *taken < most {
            *taken = taken.saturating_add(1);
            true
        } else {
            false
        }
    }

    /// Counts one call of `sender` less.
    pub(crate) fn give_back(&mut self, sender: Address) {
        if let Some(taken) = self.0.get_mut(&sender) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.0.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    #[test]
    fn a_quorum_of_one_must_be_asked_for_by_name() {
        let asked = Policy::single_host(address(1));
        assert_eq!(asked.check(), Ok(()));
        let silent = Policy { single_host_allowed: false, ..asked.clone() };
        assert_eq!(silent.check(), Err(PolicyError::SingleHost));
        let three = Policy { hosts: vec![address(1), address(2), address(3)], ..silent.clone() };
        assert_eq!(three.check(), Err(PolicyError::SingleHost));
        assert_eq!(Policy { quorum: 2, ..three }.check(), Ok(()));
        assert_eq!(Policy { quorum: 2, ..silent }.check(), Err(PolicyError::Quorum { quorum: 2, hosts: 1 }));
        assert!(matches!(Policy { quorum: 0, ..asked }.check(), Err(PolicyError::Quorum { .. })));
    }

    #[test]
    fn lists_have_one_order_and_budgets_a_range() {
        let good = Policy::single_host(address(1));
        for bad in [
            Policy { hosts: vec![address(2), address(1)], ..good.clone() },
            Policy { publishers: vec![address(1), address(1)], ..good.clone() },
            Policy { evidence: vec![String::new()], ..good.clone() },
            Policy { fuel_max: 0, ..good.clone() },
            Policy { timeout_ms: TIMEOUT_MS_MAX + 1, ..good.clone() },
            Policy { calls_per_sender_max: 0, ..good.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn callers_are_limited_only_where_a_rule_says_so() {
        let rule = |cryptlet: &str, callers: &[Address]| CallerRule {
            cryptlet: cryptlet.to_owned(),
            callers: callers.to_vec(),
        };
        let policy = Policy {
            callers: vec![rule("calendar", &[]), rule("fx-rates", &[address(5)])],
            ..Policy::single_host(address(1))
        };
        assert_eq!(policy.check(), Ok(()));
        assert!(policy.lets_call("fx-rates", address(5)));
        assert!(!policy.lets_call("fx-rates", address(6)));
        assert!(policy.lets_call("calendar", address(6)));
        assert!(policy.lets_call("other", address(6)));
    }

    #[test]
    fn a_policy_that_says_nothing_of_isolation_has_the_bytes_of_one_before_there_was_any() {
        let silent = Policy::single_host(address(1));
        let bytes = alloy_rlp::encode(&silent);
        assert_eq!(alloy_rlp::decode_exact::<Policy>(&bytes), Ok(silent.clone()));
        assert_eq!(silent.least_isolation(), Isolation::InProcess);
        let strict = Policy { isolation: Some(Isolation::Process), ..silent };
        let longer = alloy_rlp::encode(&strict);
        assert_eq!(longer.len(), bytes.len() + 1 + Isolation::Process.name().len());
        assert_eq!(alloy_rlp::decode_exact::<Policy>(&longer), Ok(strict));
    }

    #[test]
    fn a_share_is_given_back() {
        let mut shares = Shares::default();
        assert!(shares.take(address(1), 2) && shares.take(address(1), 2));
        assert!(!shares.take(address(1), 2));
        assert!(shares.take(address(2), 2));
        shares.give_back(address(1));
        assert!(shares.take(address(1), 2));
    }
}
