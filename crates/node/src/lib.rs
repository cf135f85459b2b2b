//! Assembles ledgers, fabric and interfaces into the bletchley binary; the only crate that names concrete choices.

pub mod accounts;
mod bootstrap;
mod certifier;
pub mod cli;
pub mod client;
pub mod data;
pub mod demo;
mod dev;
mod engines;
mod gate;
pub mod genesis;
pub mod node;
mod observer;
pub mod output;
mod runner;
mod signals;
mod tokens;
pub mod verify;
