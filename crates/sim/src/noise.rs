//! A member that, beside its honest work, says on every channel what no honest member says: noise, messages that are cut or
//! changed, old ones again and on other channels, and too long ones.

use crate::member::Sender;
use bletchley_consensus::{Post, To};
use bletchley_net::Pair;
use bletchley_primitives::Bytes;
use bletchley_storage::conformance::Numbers;
use commonware_p2p::{Recipients, Sender as _};
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock as _, Spawner as _};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Time between two such messages.
const PAUSE: Duration = Duration::from_millis(7);
/// Messages that are remembered to be said again.
const REMEMBERED_MAX: usize = 64;
/// Longest noise.
const NOISE_SIZE_BYTES_MAX: u64 = 3_000;
/// Longer than a checkpoint may be, or a vote.
const TOO_LONG_SIZE_BYTES: usize = 300 << 10;

/// Honest messages, the newest last.
pub(crate) type Remembered = Arc<Mutex<VecDeque<Bytes>>>;

/// Remembers what is sent.
pub(crate) struct Remembering {
    pub(crate) inner: Arc<dyn Post>,
    pub(crate) remembered: Remembered,
}

impl Post for Remembering {
    fn send(&self, to: To, message: Bytes) -> bool {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.pop_front();
        }
        remembered.push_back(message.clone());
        drop(remembered);
        self.inner.send(to, message)
    }
}

fn hostile(remembered: &Remembered, draw: &mut Numbers) -> Vec<u8> {
    let remembered = remembered.lock();
    let old = remembered.get(draw.below(remembered.len().max(1) as u64) as usize);
    let mut message = old.map(|message| message.to_vec()).unwrap_or_default();
    drop(remembered);
    let at = draw.below(message.len().max(1) as u64) as usize;
    match draw.below(8) {
        0..=2 => (0..draw.below(NOISE_SIZE_BYTES_MAX)).map(|_| draw.below(256) as u8).collect(),
        3 => vec![draw.below(256) as u8; TOO_LONG_SIZE_BYTES],
        4 => {
            message.truncate(at);
            message
        }
        5 | 6 => {
            if let Some(byte) = message.get_mut(at) {
                *byte ^= 1 << draw.below(8);
            }
            message
        }
        _ => message,
    }
}

/// Speaks on these channels until the member ends.
pub(crate) fn speak(context: Context, channels: &[&Pair<Sender>], remembered: Remembered, seed: u64) {
    let mut mouths: Vec<_> = channels.iter().map(|pair| pair.0.clone()).collect();
    drop(context.spawn(move |context| async move {
        let mut draw = Numbers::new(seed.wrapping_add(11));
        loop {
            context.sleep(PAUSE).await;
            let message = Bytes::from(hostile(&remembered, &mut draw));
            let mouth = draw.below(mouths.len().max(1) as u64) as usize;
            if let Some(mouth) = mouths.get_mut(mouth) {
                let _ = mouth.send(Recipients::All, message.0, draw.below(2) == 0);
            }
        }
    }));
}
