//! The members decide: one proposes what the plan says, the others vote for it, through whichever member they reach, and again
//! until it stands.

use crate::consortium::{Consortium, Seat, TOKENS};
use crate::member::Running;
use crate::plan::Decision;
use bletchley_consortium::{Action, Consortium as Consented, NAMESPACE, Standing, Statement};
use bletchley_token::{Entry, Lock, TxBuilder};

/// Time between two attempts.
pub(crate) const ATTEMPT_MS: u64 = 260;
/// Version of the entries.
const ENTRY_VERSION: &str = "1";

/// A statement of a member, on its way onto the token ledger.
fn say(running: &Running, seat: &Seat, statement: &Statement, turn: u64) {
    let key = &seat.administrator;
    let entry = Entry {
        namespace: NAMESPACE.to_owned(),
        name: statement.entry_name(&seat.member.name, turn),
        version: ENTRY_VERSION.to_owned(),
        payload: statement.encode(),
    };
    let tx = TxBuilder::register(TOKENS, key.address(), entry, None, Lock::key(key.address()));
    // Refused when it was said before, or came too late: it is looked at again.
    let _ = running.tokens.submit(&tx.sign(&[key]).bytes);
}

impl Consortium {
    fn action(&self, decision: Decision) -> Option<Action> {
        let (Decision::Join(seat) | Decision::Leave(seat)) = decision;
        let member = self.seats.get(seat)?.member.clone();
        Some(match decision {
            Decision::Join(_) => Action::AddMember { member },
            Decision::Leave(_) => Action::RemoveMember { name: member.name },
        })
    }

    /// Whether what was wanted stands.
    fn stands(&self, decision: Decision, standing: &Standing) -> bool {
        let (Decision::Join(seat) | Decision::Leave(seat)) = decision;
        let name = self.seats.get(seat).map(|seat| &seat.member.name);
        let is_member = standing.active().any(|member| Some(&member.name) == name);
        is_member == matches!(decision, Decision::Join(_))
    }

    /// Whether everything that the plan wants stands.
    pub(crate) fn has_decided(&self) -> bool {
        self.decided == self.plan.decisions.len()
    }

    /// Brings the next decision forward a little, through this member.
    pub(crate) fn decide(&mut self, running: &Running) {
        let next = self.plan.decisions.get(self.decided).filter(|(at_ms, _)| *at_ms <= self.now_ms);
        let (Some((_, decision)), Some(governance)) = (next.copied(), &running.governance) else { return };
        if self.stands(decision, &governance.standing()) {
            self.decided += 1;
            tracing::info!(at_ms = self.now_ms, ?decision, "sim.decided");
            return;
        }
        let Some(action) = self.action(decision) else { return };
        governance.with_history(|history| self.speak(running, history.now(), action));
    }

    /// Proposes, or votes where somebody has proposed.
    fn speak(&self, running: &Running, consented: &Consented, action: Action) {
        let standing = consented.standing();
        let is_member = |seat: &&Seat| standing.administered_by(seat.member.administrator).is_some();
        let mut voters = self.seats.iter().filter(|seat| seat.is_honest).filter(is_member);
        let actions = vec![action];
        let Some(open) = consented.open().find(|proposal| proposal.actions == actions) else {
            let turn = consented.open().chain(consented.closed()).map(|proposal| proposal.number).max();
            if let Some(first) = voters.next() {
                let statement = Statement::Propose { actions, note: String::new() };
                say(running, first, &statement, turn.unwrap_or_default());
            }
            return;
        };
        let statement = Statement::Vote { proposal: open.number, digest: open.digest, yes: true };
        for seat in voters.filter(|seat| !open.ballots.contains_key(&seat.member.name)) {
            say(running, seat, &statement, 0);
        }
    }
}
