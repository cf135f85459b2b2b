//! Building transactions: one constructor for each action, then what is spent and made, then signatures.

use crate::codec::OptionalHash;
use crate::identity::{CompositeRecord, IdentityError, Properties, TokenRecord};
use crate::transaction::TRANSACTION_VERSION;
use crate::{
    Action, AssetId, Body, Claim, Entry, Lock, Note, Output, OutputRef, TokenId, Transaction, Unspent, Value,
    Witness,
};
use bletchley_crypto::SecretKey;
use bletchley_primitives::{Address, B256, Bytes, LedgerId, TxId};

/// A transaction in the making.
#[derive(Clone, Debug)]
pub struct TxBuilder {
    ledger: LedgerId,
    body: Body,
    preimages: Vec<B256>,
}

/// A signed transaction, ready to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTx {
    /// Its id on the ledger it was built for.
    pub id: TxId,
    /// The transaction.
    pub transaction: Transaction,
    /// Its canonical bytes.
    pub bytes: Bytes,
}

impl SignedTx {
    /// Its output at `position`, to be spent by the next transaction.
    #[must_use]
    pub const fn output(&self, position: u32) -> OutputRef {
        OutputRef::new(self.id, position)
    }
}

impl AsRef<[u8]> for SignedTx {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why change cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chosen outputs hold {found} of the asset, {needed} are needed")]
pub struct ShortError {
    /// What the outputs hold.
    pub found: u128,
    /// What is needed.
    pub needed: u128,
}

impl TxBuilder {
    fn with(ledger: LedgerId, action: Action) -> Self {
        let version = TRANSACTION_VERSION;
        let body = Body { version, action, inputs: Vec::new(), outputs: Vec::new(), compensates: Vec::new() };
        Self { ledger, body, preimages: Vec::new() }
    }

    /// Moves outputs. Add what goes in with [`Self::spend`], what comes out with [`Self::token`] and [`Self::amount`].
    #[must_use]
    pub fn transfer(ledger: LedgerId) -> Self {
        Self::with(ledger, Action::Transfer {})
    }

    /// Issues tokens with these records, each with its label, each to its first owner. The issuer of the records signs.
    #[must_use]
    pub fn issue(
        ledger: LedgerId,
        issuer: Address,
        tokens: impl IntoIterator<Item = (TokenRecord, String, Lock)>,
    ) -> Self {
        let (mut claims, mut outputs) = (Vec::new(), Vec::new());
        for (record, label, lock) in tokens {
            outputs.push(Output::new(Value::Token { token: record.id() }, lock));
            claims.push(Claim { identity: record.identity, label });
        }
        let mut builder = Self::with(ledger, Action::Issue { issuer, claims });
        builder.body.outputs = outputs;
        builder
    }

    /// Issues one thing: the manufacturer signs.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn issue_thing(
        ledger: LedgerId,
        manufacturer: Address,
        class: &str,
        serial: &str,
        owner: Lock,
    ) -> Result<Self, IdentityError> {
        let record = TokenRecord::thing(manufacturer, class, serial)?;
        Ok(Self::issue(ledger, manufacturer, [(record, class.to_owned(), owner)]))
    }

    /// Defines a fungible asset; `control` owns the right to issue and redeem it.
    #[must_use]
    pub fn define_asset(ledger: LedgerId, issuer: Address, peg: &str, decimals: u8, control: Lock) -> Self {
        let mut builder = Self::with(ledger, Action::DefineAsset { issuer, peg: peg.to_owned(), decimals });
        let asset = AssetId::of(issuer, peg, decimals);
        builder.body.outputs.push(Output::new(Value::Control { asset }, control));
        builder
    }

    /// Issues an amount; spends the asset's control and makes it again.
    #[must_use]
    pub fn issue_amount(
        ledger: LedgerId,
        asset: AssetId,
        amount: u128,
        control: (OutputRef, Lock),
        owner: Lock,
    ) -> Self {
        Self::with(ledger, Action::IssueAmount { asset, amount })
            .spend(control.0)
            .output(Output::new(Value::Control { asset }, control.1))
            .amount(asset, amount, owner)
    }

    /// Takes an amount out of circulation; spends the asset's control and makes it again. Add the outputs that hold the
    /// amount with [`Self::spend`], and change with [`Self::amount`].
    #[must_use]
    pub fn redeem(ledger: LedgerId, asset: AssetId, amount: u128, control: (OutputRef, Lock)) -> Self {
        Self::with(ledger, Action::Redeem { asset, amount })
            .spend(control.0)
            .output(Output::new(Value::Control { asset }, control.1))
    }

    /// Builds parts into a whole with its own class and serial number; the assembler and the parts' owners sign.
    ///
    /// # Errors
    /// [`IdentityError`].
    #[expect(clippy::too_many_arguments, reason = "each is a fact about the whole that has no default")]
    pub fn compose(
        ledger: LedgerId,
        issuer: Address,
        class: &str,
        serial: &str,
        revision: u32,
        label: &str,
        parts: &[(TokenId, OutputRef)],
        owner: Lock,
    ) -> Result<Self, IdentityError> {
        let mut ids: Vec<TokenId> = parts.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let record = CompositeRecord::assemble(issuer, class, serial, revision, &ids)?;
        let properties = Properties::of_thing(class, serial)?.digest();
        let label = label.to_owned();
        let mut builder =
            Self::with(ledger, Action::Compose { issuer, properties, revision, label, parts: ids });
        builder.body.inputs = parts.iter().map(|(_, output)| *output).collect();
        builder.body.outputs.push(Output::new(Value::Token { token: record.id() }, owner));
        Ok(builder)
    }

    /// Takes a whole apart; all its parts come to `owner`.
    #[must_use]
    pub fn decompose(
        ledger: LedgerId,
        composite: (TokenId, OutputRef),
        parts: &[TokenId],
        owner: &Lock,
    ) -> Self {
        let mut parts = parts.to_vec();
        parts.sort_unstable();
        let outputs =
            parts.iter().map(|part| Output::new(Value::Token { token: *part }, owner.clone())).collect();
        let mut builder = Self::with(ledger, Action::Decompose { composite: composite.0, parts });
        builder.body.inputs.push(composite.1);
        builder.body.outputs = outputs;
        builder
    }

    /// Ends tokens for good.
    #[must_use]
    pub fn retire(ledger: LedgerId, tokens: &[(TokenId, OutputRef)]) -> Self {
        let mut ids: Vec<TokenId> = tokens.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut builder = Self::with(ledger, Action::Retire { tokens: ids });
        builder.body.inputs = tokens.iter().map(|(_, output)| *output).collect();
        builder
    }

    /// Attaches a note to a token; its output is made again with this lock.
    #[must_use]
    pub fn record(ledger: LedgerId, token: (TokenId, OutputRef), note: Note, owner: Lock) -> Self {
        Self::with(ledger, Action::Record { token: token.0, note }).spend(token.1).token(token.0, owner)
    }

    /// Makes a registry entry, or its next revision when `previous` is the entry's unspent output.
    #[must_use]
    pub fn register(
        ledger: LedgerId,
        issuer: Address,
        entry: Entry,
        previous: Option<OutputRef>,
        owner: Lock,
    ) -> Self {
        let value = Value::Entry { entry: entry.id() };
        let output = Output { value, lock: owner, data: OptionalHash(Some(entry.data_digest())) };
        let mut builder = Self::with(ledger, Action::Register { issuer, entry }).output(output);
        builder.body.inputs.extend(previous);
        builder
    }

    /// Spends an output.
    #[must_use]
    pub fn spend(mut self, output: OutputRef) -> Self {
        self.body.inputs.push(output);
        self
    }

    /// Spends outputs.
    #[must_use]
    pub fn spend_all(mut self, outputs: impl IntoIterator<Item = OutputRef>) -> Self {
        self.body.inputs.extend(outputs);
        self
    }

    /// Makes an output that carries a unique token.
    #[must_use]
    pub fn token(self, token: TokenId, owner: Lock) -> Self {
        self.output(Output::new(Value::Token { token }, owner))
    }

    /// Makes an output that carries an amount.
    #[must_use]
    pub fn amount(self, asset: AssetId, amount: u128, owner: Lock) -> Self {
        self.output(Output::new(Value::Amount { asset, amount }, owner))
    }

    /// Makes an output.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.body.outputs.push(output);
        self
    }

    /// Pays an amount out of these outputs of the asset, and the rest back to `change`.
    ///
    /// # Errors
    /// [`ShortError`] when they hold less.
    pub fn pay(
        self,
        asset: AssetId,
        amount: u128,
        from: &[Unspent],
        to: Lock,
        change: Lock,
    ) -> Result<Self, ShortError> {
        let held = from.iter().filter_map(|unspent| match unspent.output.value {
            Value::Amount { asset: held, amount } if held == asset => Some(amount),
            _ => None,
        });
        let found = held.fold(0u128, u128::saturating_add);
        let rest = found.checked_sub(amount).ok_or(ShortError { found, needed: amount })?;
        let paid = self.spend_all(from.iter().map(|unspent| unspent.reference)).amount(asset, amount, to);
        Ok(if rest == 0 { paid } else { paid.amount(asset, rest, change) })
    }

    /// Attaches a digest of data to the output made last.
    #[must_use]
    pub fn data(mut self, digest: B256) -> Self {
        if let Some(output) = self.body.outputs.last_mut() {
            output.data = OptionalHash(Some(digest));
        }
        self
    }

    /// Names a transaction that this one corrects.
    #[must_use]
    pub fn compensating(mut self, corrected: TxId) -> Self {
        self.body.compensates.push(corrected);
        self.body.compensates.sort_unstable();
        self.body.compensates.dedup();
        self
    }

    /// Shows the preimage of a hash lock.
    #[must_use]
    pub fn preimage(mut self, preimage: B256) -> Self {
        self.preimages.push(preimage);
        self
    }

    /// The id, which is what the owners and issuers sign.
    #[must_use]
    pub fn id(&self) -> TxId {
        self.body.id(self.ledger)
    }

    /// What is signed.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Signs with these keys: those of all owners of what is spent, and of the issuer when something is issued.
    #[must_use]
    pub fn sign(self, keys: &[&SecretKey]) -> SignedTx {
        let id = self.id();
        let signatures = keys.iter().map(|key| key.sign(id.0)).collect();
        let witness = Witness { signatures, preimages: self.preimages };
        let transaction = Transaction { body: self.body, witness };
        let bytes = transaction.encode_bytes();
        SignedTx { id, transaction, bytes }
    }
}
