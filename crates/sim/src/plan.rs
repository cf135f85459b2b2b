//! What happens in a run: drawn from a seed, or written by hand.

use crate::Bug;
use bletchley_storage::Fault as DiskFault;
use bletchley_storage::conformance::Numbers;
use clap::ValueEnum;
use serde::Serialize;

/// Ledgers of every member: tokens and EVM.
pub(crate) const LEDGERS: usize = 2;
/// Shortest time before the first fault of an era.
const CALM_MS: u64 = 1_000;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Mean time that a message takes.
    pub latency_ms: u64,
    /// Standard deviation of it.
    pub jitter_ms: u64,
    /// Messages of a thousand that are lost.
    pub lost_per_mille: u64,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of a member's machine goes: of what was not synced, any part stays.
    PowerCut {
        /// Whose.
        member: usize,
        /// How long it stays off.
        down_ms: u64,
    },
    /// A member's process ends; what it wrote stays.
    Kill {
        /// Whose.
        member: usize,
        /// How long it stays off.
        down_ms: u64,
    },
    /// A member's disk fails at a sync point: at the first fitting operation after so many others.
    Disk {
        /// Whose.
        member: usize,
        /// Which ledger's: 0 or 1.
        ledger: usize,
        /// Operations until then.
        operations: u64,
        /// What happens.
        fault: DiskFault,
        /// How long the member stays off afterwards.
        down_ms: u64,
    },
    /// Only members of the same group hear each other.
    Split {
        /// The groups.
        groups: Vec<Vec<usize>>,
        /// For how long.
        for_ms: u64,
    },
    /// Messages travel otherwise.
    Storm {
        /// How.
        weather: Weather,
        /// For how long.
        for_ms: u64,
    },
}

/// What one member does that no honest member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Misbehaviour {
    /// It proposes nothing.
    Silence,
    /// It proposes blocks that do not hold.
    Lies,
    /// It proposes and votes as it should, and says on every channel what no honest member says.
    Noise,
    /// It runs twice with one key, each half talking to a part of the members: two proposals for one view, and votes that
    /// contradict each other (Bano et al., "Twins: BFT Systems Made Robust").
    Twins,
}

/// How the members agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// By simplex.
    #[default]
    Simplex,
    /// By tendermint.
    Tendermint,
}

/// What the members decide by their votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody who follows so far becomes a member, and validates.
    Join(usize),
    /// A member leaves, and follows from then on.
    Leave(usize),
}

/// Which runs follow from seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Four members that agree by simplex.
    #[default]
    Usual,
    /// The same, who take in a fifth and let one of the others go, by votes.
    Votes,
    /// Four members that agree by tendermint; with every other seed they vote too.
    Tendermint,
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Usual => "usual",
            Self::Votes => "votes",
            Self::Tendermint => "tendermint",
        })
    }
}

/// A stretch of time that ends with all members losing power at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// Its length.
    pub ms: u64,
    /// What goes wrong, by time from its beginning.
    pub faults: Vec<(u64, Fault)>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it was drawn for.
    pub scenario: Scenario,
    /// Seeds runtime, network, disks and clients.
    pub seed: u64,
    /// Members at first, all of which validate.
    pub members: usize,
    /// How they agree.
    pub agreement: Agreement,
    /// What they decide, one after the other, each from some time of the run on.
    pub decisions: Vec<(u64, Decision)>,
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// How messages travel when nothing else is said.
    pub weather: Weather,
    /// Time between two transactions of clients.
    pub load_every_ms: u64,
    /// Stretches of time.
    pub eras: Vec<Era>,
    /// Who misbehaves, and how.
    pub byzantine: Option<(usize, Misbehaviour)>,
    /// What is broken on purpose, to see that it is noticed.
    pub bug: Bug,
}

impl Plan {
    /// A run without faults: four members, one era.
    #[must_use]
    pub fn calm(seed: u64, ms: u64) -> Self {
        Self {
            scenario: Scenario::Usual,
            seed,
            members: 4,
            agreement: Agreement::Simplex,
            decisions: Vec::new(),
            epoch_blocks: 16,
            weather: Weather { latency_ms: 5, jitter_ms: 1, lost_per_mille: 0 },
            load_every_ms: 40,
            eras: vec![Era { ms, faults: Vec::new() }],
            byzantine: None,
            bug: Bug::None,
        }
    }

    /// Everybody who ever has a node: the members, and those who may join them.
    pub(crate) fn seats(&self) -> usize {
        let joins = |(_, decision): &&(u64, Decision)| matches!(decision, Decision::Join(_));
        self.members + self.decisions.iter().filter(joins).count()
    }

    /// The run of a seed in a scenario.
    #[must_use]
    pub fn of(scenario: Scenario, seed: u64) -> Self {
        let plan = Self { scenario, ..Self::of_seed(seed) };
        match scenario {
            Scenario::Usual => plan,
            Scenario::Votes => plan.voting(),
            Scenario::Tendermint => {
                let plan = Self { agreement: Agreement::Tendermint, ..plan };
                if seed.is_multiple_of(2) { plan } else { plan.voting() }
            }
        }
    }

    /// One more joins, one of the first leaves.
    #[must_use]
    pub fn voting(self) -> Self {
        let mut draw = numbers(self.seed.wrapping_add(1 << 40));
        let join_ms = CALM_MS + draw.below(3_000);
        let leave_ms = join_ms + draw.below(4_000);
        let leaves = draw.below(self.members as u64) as usize;
        let decisions = vec![(join_ms, Decision::Join(self.members)), (leave_ms, Decision::Leave(leaves))];
        Self { decisions, ..self }
    }

    /// The run of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let draw = &mut numbers(seed);
        let mut plan = Self::calm(seed, 0);
        plan.epoch_blocks = 4 + draw.below(20);
        plan.weather.latency_ms = 1 + draw.below(30);
        plan.weather.jitter_ms = draw.below(8);
        plan.load_every_ms = 20 + draw.below(100);
        let byzantine = draw.below(4) as usize;
        plan.byzantine = match draw.below(6) {
            0 => Some((byzantine, Misbehaviour::Silence)),
            1 => Some((byzantine, Misbehaviour::Lies)),
            2 => Some((byzantine, Misbehaviour::Twins)),
            _ => None,
        };
        let eras = 1 + draw.below(3);
        plan.eras = (0..eras).map(|_| era(draw, plan.members)).collect();
        plan
    }
}

/// Numbers whose first ones differ from seed to seed.
fn numbers(seed: u64) -> Numbers {
    let mut numbers = Numbers::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    for _ in 0..8 {
        numbers.next();
    }
    numbers
}

fn era(draw: &mut Numbers, members: usize) -> Era {
    let ms = 4_000 + draw.below(8_000);
    let (mut at_ms, mut faults) = (CALM_MS, Vec::new());
    loop {
        at_ms += draw.below(2_500);
        if at_ms >= ms {
            return Era { ms, faults };
        }
        faults.push((at_ms, fault(draw, members)));
    }
}

fn fault(draw: &mut Numbers, members: usize) -> Fault {
    let member = draw.below(members as u64) as usize;
    let down_ms = 50 + draw.below(3_000);
    let for_ms = 200 + draw.below(3_000);
    match draw.below(8) {
        0 => Fault::PowerCut { member, down_ms },
        1 => Fault::Kill { member, down_ms },
        2..=4 => {
            let fault = match draw.below(6) {
                0 => DiskFault::NoSpace,
                1 => DiskFault::SyncFails,
                _ => DiskFault::Crash,
            };
            let (ledger, operations) = (draw.below(LEDGERS as u64) as usize, draw.below(60));
            Fault::Disk { member, ledger, operations, fault, down_ms }
        }
        5 | 6 => {
            let mut groups = vec![Vec::new(), Vec::new()];
            for member in 0..members {
                if let Some(group) = groups.get_mut(draw.below(2) as usize) {
                    group.push(member);
                }
            }
            Fault::Split { groups, for_ms }
        }
        _ => {
            let weather = Weather {
                latency_ms: draw.below(200),
                jitter_ms: draw.below(100),
                lost_per_mille: draw.below(300),
            };
            Fault::Storm { weather, for_ms }
        }
    }
}
