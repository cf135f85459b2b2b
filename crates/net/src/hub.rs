//! One set of channels for all ledgers of a node.

use crate::circle::{Circle, Inside, InsideReceiver};
use crate::{CHANNELS, Channel};
use bletchley_consensus::Protocol;
use bletchley_primitives::LedgerId;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::utils::mux::{MuxHandle, Muxer, SubReceiver, SubSender};
use commonware_p2p::{Receiver, Sender};
use commonware_runtime::Spawner;

/// Why a ledger got no channels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// It has them already.
    #[error("ledger {0} is on the network already")]
    Twice(LedgerId),
    /// The network has ended.
    #[error("the network has ended")]
    Ended,
}

/// Sender and receiver of one channel of one ledger.
pub type Pair<S> = (Inside<SubSender<S>>, InsideReceiver<SubReceiver<PublicKey>>);

/// What an engine speaks on.
#[derive(Debug)]
pub struct EngineChannels<S: Sender<PublicKey = PublicKey>> {
    /// Votes.
    pub votes: Pair<S>,
    /// Certificates.
    pub certificates: Pair<S>,
    /// Certificates that were asked for.
    pub resolver: Pair<S>,
    /// Blocks that were asked for.
    pub backfill: Pair<S>,
    /// Proposed blocks.
    pub blocks: Pair<S>,
}

/// What a ledger speaks on.
#[derive(Debug)]
pub struct LedgerChannels<S: Sender<PublicKey = PublicKey>> {
    /// Its engine.
    pub engine: EngineChannels<S>,
    /// Everything beside the engine, by protocol.
    pub beside: Vec<(Protocol, Pair<S>)>,
}

/// Divides every channel of the network by ledger.
#[derive(Clone)]
pub struct Hub<S: Sender<PublicKey = PublicKey>> {
    muxes: Vec<MuxHandle<S>>,
}

impl<S: Sender<PublicKey = PublicKey>> std::fmt::Debug for Hub<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("channels", &self.muxes.len()).finish()
    }
}

impl<S: Sender<PublicKey = PublicKey>> Hub<S> {
    /// A hub over the network's channels, one for each of [`CHANNELS`] in that order; its tasks run in `context`.
    pub fn start<E: Spawner, R: Receiver<PublicKey = PublicKey>>(
        context: &E,
        channels: impl IntoIterator<Item = (S, R)>,
    ) -> Self {
        let muxes = channels
            .into_iter()
            .zip(0u64..)
            .map(|((sender, receiver), number)| {
                let context = context.child("hub").with_attribute("channel", number);
                let (muxer, handle) = Muxer::new(context, sender, receiver);
                muxer.start();
                handle
            })
            .collect();
        Self { muxes }
    }

    /// The channels of one ledger.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn join(&mut self, ledger: LedgerId, circle: &Circle) -> Result<LedgerChannels<S>, HubError> {
        let number = ledger.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let mut engine = Vec::new();
        let mut beside = Vec::new();
        for (channel, mux) in CHANNELS.into_iter().zip(&mut self.muxes) {
            let (sender, receiver) = mux.register(number).await.map_err(|_| HubError::Twice(ledger))?;
            let pair = (Inside::new(sender, circle.clone()), InsideReceiver::new(receiver, circle.clone()));
            match channel {
                Channel::Beside(protocol) => beside.push((protocol, pair)),
                _ => engine.push(pair),
            }
        }
        let [votes, certificates, resolver, backfill, blocks] =
            <[Pair<S>; 5]>::try_from(engine).map_err(|_| HubError::Ended)?;
        let engine = EngineChannels { votes, certificates, resolver, backfill, blocks };
        Ok(LedgerChannels { engine, beside })
    }
}
