//! Simulated machines: what one of them does at each event, what goes wrong on the way, and what all of them report.
//!
//! A machine is a pure state. The program `storm` does the I/O of thousands of them, with real packets.

#![forbid(unsafe_code)]

pub mod client;
pub mod dice;
pub mod faults;
pub mod firmware;
pub mod frame;
pub mod ledger;
pub mod milestone;
pub mod report;
pub mod script;
pub mod simulated;
pub mod site;
pub mod tftp;
