//! Headers from the own head to a block that is final, each believed because a certified one names it.

use crate::certificates::ReadHeader;
use bletchley_ledger::{Certificate, FinalityProof, HeaderLink, Headers, ValidatorSet};
use bletchley_primitives::{BlockHash, Bytes, Height, LedgerId};
use std::collections::BTreeMap;

/// Who signs which heights, as a proof of finality showed it.
pub(super) struct Sets {
    first: ValidatorSet,
    /// Last heights of sets, with the set that follows.
    changes: Vec<(Height, ValidatorSet)>,
}

impl Sets {
    /// The sets of a proof that holds from `genesis`.
    pub(super) fn of(genesis: &ValidatorSet, proof: &FinalityProof) -> Self {
        let change = |change: &bletchley_ledger::SetChange| {
            (change.certificate.checkpoint.height, change.next.clone())
        };
        Self { first: genesis.clone(), changes: proof.changes.iter().map(change).collect() }
    }

    fn at(&self, height: Height) -> &ValidatorSet {
        let before = self.changes.iter().take_while(|(last, _)| *last < height);
        before.last().map_or(&self.first, |(_, set)| set)
    }
}

/// A header that is final.
#[derive(Clone)]
pub(super) struct Final {
    pub(super) link: HeaderLink,
    pub(super) header: Bytes,
}

/// The final headers that were not used yet.
pub(super) struct Chain {
    ledger: LedgerId,
    read: ReadHeader,
    sets: Sets,
    top: (Height, BlockHash),
    links: BTreeMap<u64, Final>,
    certificates: BTreeMap<Height, Certificate>,
}

impl Chain {
    /// Nothing above `head` is known.
    pub(super) const fn above(
        ledger: LedgerId,
        read: ReadHeader,
        sets: Sets,
        head: (Height, BlockHash),
    ) -> Self {
        Self { ledger, read, sets, top: head, links: BTreeMap::new(), certificates: BTreeMap::new() }
    }

    /// The newest height that is known.
    pub(super) const fn top(&self) -> Height {
        self.top.0
    }

    /// Headers that wait to be used.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Takes headers in that follow the newest known one.
    ///
    /// # Errors
    /// Why they are not believed; nothing is changed then.
    pub(super) fn extend(&mut self, answer: Headers) -> Result<Vec<Certificate>, String> {
        if answer.from != self.top.0.next() {
            return Err(format!(
                "headers from {} where those from {} were asked for",
                answer.from,
                self.top.0.next()
            ));
        }
        let (mut links, mut top) = (Vec::new(), self.top);
        for header in answer.headers {
            let link =
                (self.read)(&header).map_err(|error| format!("the header at {}: {error}", top.0.next()))?;
            if link.height != top.0.next() || link.parent != top.1 {
                return Err(format!("the header at {} does not follow the one before it", top.0.next()));
            }
            top = (link.height, link.hash);
            links.push(Final { link, header });
        }
        let of = |height: Height| {
            let at = height.0.checked_sub(answer.from.0).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| links.get(at)).map(|found| found.link)
        };
        for certificate in &answer.certificates {
            let checkpoint = &certificate.checkpoint;
            let height = checkpoint.height;
            if checkpoint.ledger != self.ledger {
                return Err(format!("the certificate of block {height} is for another ledger"));
            }
            let same = of(height)
                .is_some_and(|link| (link.hash, link.state) == (checkpoint.block, checkpoint.state));
            if !same {
                return Err(format!("the certificate of block {height} is for another block"));
            }
            certificate
                .verify(self.sets.at(height))
                .map_err(|error| format!("the certificate of block {height}: {error}"))?;
        }
        if answer.certificates.last().is_none_or(|last| last.checkpoint.height != top.0) {
            return Err(format!("no certificate for the last header, at {}", top.0));
        }
        self.top = top;
        self.links.extend(links.into_iter().map(|found| (found.link.height.0, found)));
        self.certificates.extend(answer.certificates.iter().map(|one| (one.checkpoint.height, one.clone())));
        Ok(answer.certificates)
    }

    /// Final headers of these heights.
    pub(super) fn range(&self, from: u64, to: u64) -> Option<Vec<Final>> {
        let found: Vec<Final> = self.links.range(from..=to).map(|(_, found)| found.clone()).collect();
        (found.len() as u64 == to.checked_sub(from)?.checked_add(1)?).then_some(found)
    }

    /// Blocks up to here were taken in; gives the certificates among them.
    pub(super) fn taken(&mut self, to: u64) -> BTreeMap<Height, Certificate> {
        self.links = self.links.split_off(&to.saturating_add(1));
        let later = self.certificates.split_off(&Height(to.saturating_add(1)));
        std::mem::replace(&mut self.certificates, later)
    }
}
