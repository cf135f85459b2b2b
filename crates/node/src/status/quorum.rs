//! Whether enough validators are connected for blocks to become final, and if not, whom the ledger waits for.

use bletchley_consensus::{PeerId, Validators};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

/// Most names in a message.
const NAMES_MAX: usize = 8;

/// Fewer validators than a quorum are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoQuorum {
    /// Validators that are not connected.
    pub missing: Vec<String>,
    /// Validators that are, this node among them if it is one.
    pub connected: usize,
    /// Validators of the epoch.
    pub of: usize,
    /// How many must be connected.
    pub needed: usize,
}

impl NoQuorum {
    /// What `me` sees: none when a quorum is connected.
    #[must_use]
    pub fn seen_by(me: PeerId, validators: &Validators, connected: &BTreeSet<PeerId>) -> Option<Self> {
        let here = |peer: &PeerId| *peer == me || connected.contains(peer);
        let all = validators.as_slice();
        let missing: Vec<String> = all
            .iter()
            .filter(|validator| !here(&validator.peer))
            .map(|validator| validator.name.clone())
            .collect();
        let (present, needed) = (all.len() - missing.len(), quorum(all.len()));
        (present < needed).then_some(Self { missing, connected: present, of: all.len(), needed })
    }
}

impl fmt::Display for NoQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, connected, of, needed } = self;
        write!(f, "waiting for {} ({connected} of {of} connected, {needed} needed)", listed(missing))?;
        if missing.len() > 1 && of.saturating_sub(missing.len()) <= 1 {
            // With clocks half a minute apart a handshake fails on both sides, and neither can tell why.
            f.write_str("; nobody is reached: look at this node's network and clock")?;
        }
        Ok(())
    }
}

/// More than two thirds, as checkpoints and engines have it.
pub(crate) const fn quorum(validators: usize) -> usize {
    validators * 2 / 3 + 1
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(NAMES_MAX));
    if !more.is_empty() {
        return format!("{} and {} more", shown.join(", "), more.len());
    }
    match shown.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => "nobody".to_owned(),
    }
}

/// Remembers which ledgers have lost their quorum, so that the log says so once, and once when it is back.
#[derive(Debug, Default)]
pub struct QuorumWatch {
    lost: Mutex<BTreeMap<String, Lost>>,
}

#[derive(Debug)]
struct Lost {
    since: Instant,
    missing: Vec<String>,
}

impl QuorumWatch {
    /// Notes what a ledger sees now, and gives the message for people while there is no quorum.
    pub fn note(&self, ledger: &str, seen: Option<NoQuorum>) -> Option<String> {
        let mut lost = self.lost.lock();
        let Some(seen) = seen else {
            if let Some(before) = lost.remove(ledger) {
                let seconds = before.since.elapsed().as_secs();
                tracing::warn!(ledger, seconds, "quorum.regained: blocks can become final again");
            }
            return None;
        };
        let message = format!("no quorum: {seen}");
        match lost.get_mut(ledger) {
            None => {
                tracing::warn!(ledger, "quorum.lost: {message}; no block becomes final until they are back");
                lost.insert(ledger.to_owned(), Lost { since: Instant::now(), missing: seen.missing });
            }
            Some(before) if before.missing != seen.missing => {
                tracing::info!(ledger, "quorum.missing: {message}");
                before.missing = seen.missing;
            }
            Some(_) => {}
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bletchley_consensus::Validator;
    use bletchley_primitives::{Address, B256};

    fn peer(number: u8) -> PeerId {
        PeerId(B256::repeat_byte(number))
    }

    fn validators(names: &[&str]) -> Validators {
        Validators::new((1..).zip(names).map(|(number, name)| Validator {
            name: (*name).to_owned(),
            peer: peer(number),
            address: Address::repeat_byte(number),
        }))
    }

    #[test]
    fn it_names_who_is_missing() {
        let all = validators(&["bank-a", "bank-b", "maker", "regulator"]);
        let seen = |connected: &[u8]| {
            NoQuorum::seen_by(peer(1), &all, &connected.iter().map(|n| peer(*n)).collect())
        };
        assert_eq!(seen(&[2, 3]), None);
        let message = seen(&[3]).map(|lost| lost.to_string()).unwrap_or_default();
        assert_eq!(message, "waiting for bank-b and regulator (2 of 4 connected, 3 needed)");
        let message = seen(&[]).map(|lost| lost.to_string()).unwrap_or_default();
        assert_eq!(
            message,
            "waiting for bank-b, maker and regulator (1 of 4 connected, 3 needed); nobody is reached: look at this node's network and clock"
        );
    }

    #[test]
    fn a_lone_validator_is_its_own_quorum_and_an_observer_counts_for_nothing() {
        let alone = validators(&["bank-a"]);
        assert_eq!(NoQuorum::seen_by(peer(1), &alone, &BTreeSet::new()), None);
        let message = NoQuorum::seen_by(peer(9), &alone, &BTreeSet::new()).map(|lost| lost.to_string());
        assert_eq!(message.as_deref(), Some("waiting for bank-a (0 of 1 connected, 1 needed)"));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
        assert_eq!(listed(&names), "m0, m1, m2, m3, m4, m5, m6, m7 and 4 more");
    }

    #[test]
    fn a_ledger_is_lost_until_it_is_back() {
        let all = validators(&["a", "b", "c", "d"]);
        let watch = QuorumWatch::default();
        let lost = NoQuorum::seen_by(peer(1), &all, &BTreeSet::new());
        assert!(
            watch
                .note("evm", lost.clone())
                .is_some_and(|message| message.starts_with("no quorum: waiting for b"))
        );
        assert!(watch.note("evm", lost).is_some());
        assert_eq!(watch.note("evm", None), None);
        assert!(watch.lost.lock().is_empty());
    }
}
