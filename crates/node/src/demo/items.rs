//! The manufacturer's workshop: parts, wholes, sales and repairs as transactions of the token ledger.

use crate::accounts::Accounts;
use crate::output::Output;
use crate::tokens::{Final, TokenLedger, sign};
use anyhow::{Context, Result};
use bletchley_cryptlet::keys::Signer;
use bletchley_token::{Lock, OutputRef, SignedTx, TokenId, TokenRecord, TxBuilder};
use serde_json::json;

/// Phones of one run.
const PHONES: u32 = 3;
/// Screws of one phone.
const SCREWS: u32 = 4;
/// Number of the screen that nothing is built from at first.
pub(super) const SPARE_SCREEN: u32 = PHONES + 1;

/// A phone that was assembled.
pub(super) struct Phone {
    pub(super) number: u32,
    pub(super) token: TokenId,
    pub(super) label: String,
    pub(super) screws: Vec<TokenId>,
    owner: String,
}

impl Phone {
    /// Somebody else's now.
    pub(super) fn sold_to(&mut self, buyer: &str) {
        self.owner = buyer.to_owned();
    }
}

/// Makes things, and knows who is who.
pub(super) struct Workshop<'a> {
    pub(super) ledger: &'a TokenLedger<'a>,
    pub(super) output: Output,
    pub(super) run: u32,
    accounts: &'a Accounts,
}

impl<'a> Workshop<'a> {
    /// A workshop whose serial numbers nobody has used on this ledger.
    pub(super) fn open(ledger: &'a TokenLedger<'a>, accounts: &'a Accounts, output: Output) -> Result<Self> {
        let mut shop = Self { ledger, output, run: 1, accounts };
        // Runs are numbered without gaps: double until one is free, then close in on the first that is.
        while shop.is_used()? {
            shop.run = shop.run.checked_mul(2).context("no run number is free")?;
        }
        let (mut used, mut free) = (shop.run / 2, shop.run);
        while free - used > 1 {
            shop.run = used + (free - used) / 2;
            if shop.is_used()? {
                used = shop.run;
            } else {
                free = shop.run;
            }
        }
        shop.run = free;
        Ok(shop)
    }

    fn is_used(&self) -> Result<bool> {
        Ok(self.ledger.find(self.part("screw", 1)?)?.is_some())
    }

    pub(super) fn signer(&self, name: &str) -> Result<&'a dyn Signer> {
        self.accounts.signer(name)
    }

    pub(super) fn lock(&self, name: &str) -> Result<Lock> {
        Ok(Lock::key(self.signer(name)?.address()))
    }

    /// The serial number of a kind of thing in this run.
    pub(super) fn serial(&self, kind: &str, number: u32) -> String {
        format!("{kind}-{:04}-{number:02}", self.run)
    }

    pub(super) fn record_of(&self, class: &str, number: u32) -> Result<TokenRecord> {
        let maker = self.signer("manufacturer")?.address();
        Ok(TokenRecord::thing(maker, class, &self.serial(prefix(class), number))?)
    }

    fn part(&self, class: &str, number: u32) -> Result<TokenId> {
        Ok(self.record_of(class, number)?.id())
    }

    pub(super) fn label(&self, class: &str, number: u32) -> String {
        format!("{class} {}", self.serial(prefix(class), number))
    }

    /// Sends a transaction that must be taken, waits until it is final, and reports it.
    pub(super) fn settle(&self, event: &str, what: &str, signed: &SignedTx) -> Result<Final> {
        self.ledger.call(signed.id.0, format!("\"{what}\""));
        let settled = self.ledger.settle(signed).with_context(|| format!("{event}: {what}"))?;
        self.output.event(
            &json!({ "event": event, "what": what, "transaction": settled.id, "height": settled.height }),
        );
        Ok(settled)
    }

    /// Tokenizes every part of the run in one transaction; gives how many.
    pub(super) fn issue_parts(&self) -> Result<usize> {
        let maker = self.signer("manufacturer")?;
        let kinds = [
            ("screw", PHONES * SCREWS),
            ("lens", PHONES),
            ("sensor", PHONES),
            ("screen", SPARE_SCREEN),
            ("board", PHONES),
        ];
        let mut tokens = Vec::new();
        for (class, count) in kinds {
            for number in 1..=count {
                tokens.push((
                    self.record_of(class, number)?,
                    self.label(class, number),
                    Lock::key(maker.address()),
                ));
            }
        }
        let count = tokens.len();
        let builder = TxBuilder::issue(self.ledger.ledger, maker.address(), tokens);
        self.settle("issued", &format!("issue of {count} parts"), &sign(&builder, &[maker])?)?;
        Ok(count)
    }

    fn output_of(&self, token: TokenId) -> Result<OutputRef> {
        Ok(self.ledger.spendable(&self.ledger.token(token)?)?.0)
    }

    fn compose(&self, class: &str, number: u32, parts: &[TokenId]) -> Result<TokenId> {
        let maker = self.signer("manufacturer")?;
        let (next, _) = self.ledger.builds(self.part(class, number)?)?;
        let serial = self.serial(prefix(class), number);
        let parts =
            parts.iter().map(|part| Ok((*part, self.output_of(*part)?))).collect::<Result<Vec<_>>>()?;
        let label = self.label(class, number);
        let owner = Lock::key(maker.address());
        let builder = TxBuilder::compose(
            self.ledger.ledger,
            maker.address(),
            class,
            &serial,
            next,
            &label,
            &parts,
            owner,
        )?;
        let made = builder.body().outputs.first().and_then(|output| output.value.unique());
        self.settle("assembled", &format!("assembly of {label}"), &sign(&builder, &[maker])?)?;
        made.context("a composite without an output")
    }

    /// Builds a camera module, and a phone around it.
    pub(super) fn assemble(&self, number: u32) -> Result<Phone> {
        let camera = [self.part("lens", number)?, self.part("sensor", number)?];
        let camera = self.compose("camera module", number, &camera)?;
        let first = (number - 1) * SCREWS;
        let screws = (1..=SCREWS).map(|n| self.part("screw", first + n)).collect::<Result<Vec<_>>>()?;
        let mut parts = vec![camera, self.part("screen", number)?, self.part("board", number)?];
        parts.extend(&screws);
        let token = self.compose("phone", number, &parts)?;
        Ok(Phone {
            number,
            token,
            label: self.label("phone", number),
            screws,
            owner: "manufacturer".to_owned(),
        })
    }

    /// The signed sale of a phone to a buyer, not sent yet.
    pub(super) fn sale(&self, phone: &Phone, buyer: &str) -> Result<SignedTx> {
        let builder = TxBuilder::transfer(self.ledger.ledger)
            .spend(self.output_of(phone.token)?)
            .token(phone.token, self.lock(buyer)?);
        sign(&builder, &[self.signer(&phone.owner)?])
    }

    /// Sells a phone.
    pub(super) fn hand_over(&self, phone: &mut Phone, buyer: &str) -> Result<()> {
        self.settle(
            "transferred",
            &format!("hand-over of {} to {buyer}", phone.label),
            &self.sale(phone, buyer)?,
        )?;
        phone.sold_to(buyer);
        Ok(())
    }

    /// Takes a phone apart, puts the spare screen in, ends the broken one; gives the labels of both.
    pub(super) fn replace_screen(&self, phone: &mut Phone) -> Result<(String, String)> {
        let maker = self.signer("manufacturer")?;
        let (broken, spare) = (self.part("screen", phone.number)?, self.part("screen", SPARE_SCREEN)?);
        let mut parts = self.ledger.parts(phone.token)?;
        let whole = (phone.token, self.output_of(phone.token)?);
        let builder = TxBuilder::decompose(self.ledger.ledger, whole, &parts, &Lock::key(maker.address()));
        self.settle("taken-apart", &format!("taking apart of {}", phone.label), &sign(&builder, &[maker])?)?;
        parts.retain(|part| *part != broken);
        parts.push(spare);
        phone.token = self.compose("phone", phone.number, &parts)?;
        let ended = TxBuilder::retire(self.ledger.ledger, &[(broken, self.output_of(broken)?)]);
        let label = self.label("screen", phone.number);
        self.settle("retired", &format!("end of {label}"), &sign(&ended, &[maker])?)?;
        Ok((label, self.label("screen", SPARE_SCREEN)))
    }
}

/// How serial numbers of a class start.
fn prefix(class: &str) -> &'static str {
    match class {
        "screw" => "SCR",
        "lens" => "LNS",
        "sensor" => "SNS",
        "screen" => "DSP",
        "board" => "BRD",
        "camera module" => "CAM",
        _ => "PHN",
    }
}
