//! `bletchley demo`.

use super::Common;
use crate::demo::{self, LoanStory};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(subcommand)]
    story: Story,
}

#[derive(Debug, Subcommand)]
enum Story {
    /// A bank lends in euros against repayments in another currency, at the ECB's real rates.
    #[command(
        after_help = "Examples:\n  bletchley demo loan\n  bletchley demo loan --currency JPY --instalments 36"
    )]
    Loan {
        /// Currency of the repayments.
        #[arg(long, value_enum, default_value_t = Currency::Usd, ignore_case = true)]
        currency: Currency,
        /// Monthly instalments.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(24..=42))]
        instalments: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Parts become phones, are sold, repaired, recorded in a contract and traced; forgeries and double sales are refused.
    #[command(
        after_help = "Examples:\n  bletchley demo supply-chain\n  bletchley demo supply-chain --json | tail -1"
    )]
    SupplyChain {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Currency {
    #[value(name = "USD")]
    Usd,
    #[value(name = "GBP")]
    Gbp,
    #[value(name = "JPY")]
    Jpy,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        match self.story {
            Story::Loan { currency, instalments, common } => {
                let currency = match currency {
                    Currency::Usd => "USD",
                    Currency::Gbp => "GBP",
                    Currency::Jpy => "JPY",
                };
                let story = LoanStory { currency: currency.to_owned(), instalments };
                demo::loan(&common.folder()?, common.output(), &story)
            }
            Story::SupplyChain { common } => demo::supply_chain(&common.folder()?, common.output()),
        }
    }
}
