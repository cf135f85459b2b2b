//! Clients: they send transfers to whichever member they reach, and count their money.

use crate::consortium::{CHAIN_ID, TOKENS};
use crate::member::Running;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes as RawBytes, Signature as AlloySignature, TxKind, U256};
use bletchley_crypto::SecretKey;
use bletchley_evm::BlockRef;
use bletchley_primitives::Address;
use bletchley_storage::conformance::Numbers;
use bletchley_token::{AssetId, Lock, TxBuilder, Value};

/// What every client has on the EVM ledger at first.
pub(crate) const BALANCE: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);
/// Units of the asset that are issued at once.
const ISSUED: u128 = 1_000_000;
/// Clients.
const CLIENTS: usize = 6;
const PEG: &str = "USD";
const GAS: u64 = 21_000;

/// Everybody who has money. The first one issues the asset.
pub(crate) struct Clients {
    keys: Vec<SecretKey>,
}

impl Clients {
    pub(crate) fn new(seed: u64) -> Self {
        let key = |number: usize| SecretKey::from_seed(format!("client {number} of run {seed}").as_bytes());
        Self { keys: (0..CLIENTS).map(key).collect() }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.keys.iter().map(SecretKey::address)
    }

    fn draw(&self, draw: &mut Numbers) -> Option<&SecretKey> {
        self.keys.get(draw.below(self.keys.len() as u64) as usize)
    }

    /// One transaction, sent to this member. Refusals are nothing special: two members hear of different ones.
    pub(crate) fn send(&self, running: &Running, draw: &mut Numbers) {
        if draw.below(2) == 0 {
            self.send_ether(running, draw);
        } else {
            self.send_tokens(running, draw);
        }
    }

    fn send_ether(&self, running: &Running, draw: &mut Numbers) {
        let (Some(from), Some(to)) = (self.draw(draw), self.draw(draw)) else { return };
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: running.evm.pool_nonce(&from.address()),
            gas_limit: GAS,
            to: TxKind::Call(to.address()),
            value: U256::from(draw.below(1_000_000)),
            ..TxEip1559::default()
        };
        let signature = from.sign(tx.signature_hash());
        let (numbers, parity) = signature.0.split_at(64);
        let signature = AlloySignature::from_bytes_and_parity(numbers, parity == [1]);
        let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
        let _ = running.evm.submit(RawBytes::from(raw));
    }

    fn asset(&self) -> Option<(&SecretKey, AssetId)> {
        let issuer = self.keys.first()?;
        Some((issuer, AssetId::of(issuer.address(), PEG, 2)))
    }

    fn send_tokens(&self, running: &Running, draw: &mut Numbers) {
        let Some((issuer, asset)) = self.asset() else { return };
        let lock = |key: &SecretKey| Lock::key(key.address());
        let Some(view) = running.tokens.asset(asset) else {
            let tx = TxBuilder::define_asset(TOKENS, issuer.address(), PEG, 2, lock(issuer)).sign(&[issuer]);
            let _ = running.tokens.submit(&tx.bytes);
            return;
        };
        if (view.definition.supply == 0 || draw.below(32) == 0)
            && let (Some(control), Some(owner)) = (view.control, self.draw(draw))
        {
            let control = (control.reference, lock(issuer));
            let tx = TxBuilder::issue_amount(TOKENS, asset, ISSUED, control, lock(owner)).sign(&[issuer]);
            let _ = running.tokens.submit(&tx.bytes);
            return;
        }
        let (Some(from), Some(to)) = (self.draw(draw), self.draw(draw)) else { return };
        let amount = 1 + u128::from(draw.below(1_000));
        let Some(unspent) = running.tokens.select(lock(from).owner(), asset, amount) else { return };
        if let Ok(tx) = TxBuilder::transfer(TOKENS).pay(asset, amount, &unspent, lock(to), lock(from)) {
            let _ = running.tokens.submit(&tx.sign(&[from]).bytes);
        }
    }

    /// Nothing came from nowhere, nothing vanished.
    pub(crate) fn count(&self, running: &Running) -> Result<(), String> {
        let held: U256 = self
            .addresses()
            .filter_map(|address| running.evm.balance(&address, BlockRef::Latest).ok())
            .fold(U256::ZERO, |sum, balance| sum.saturating_add(balance));
        let all = BALANCE.saturating_mul(U256::from(CLIENTS));
        if held != all {
            return Err(format!("the accounts of the EVM ledger hold {held}, genesis gave them {all}"));
        }
        let Some((_, asset)) = self.asset() else { return Ok(()) };
        let Some(view) = running.tokens.asset(asset) else { return Ok(()) };
        let owners = self.keys.iter().map(|key| Lock::key(key.address()).owner());
        let mut held: u128 = 0;
        for owner in owners {
            let outputs = running.tokens.outputs_of(owner, None, OUTPUTS_MAX).items;
            held += outputs
                .iter()
                .map(|unspent| match unspent.output.value {
                    Value::Amount { asset: of, amount } if of == asset => amount,
                    _ => 0,
                })
                .sum::<u128>();
        }
        if held != view.definition.supply || !held.is_multiple_of(ISSUED) {
            return Err(format!(
                "unspent outputs hold {held} of the asset, {} were issued",
                view.definition.supply
            ));
        }
        Ok(())
    }
}

/// Most outputs of one client that are counted.
const OUTPUTS_MAX: usize = 1 << 20;
