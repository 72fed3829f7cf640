//! The vocabulary of Spillbench: what a scenario file says, what a resolved trial is, and what a run
//! leaves behind. Serde types and their rules; nothing here trains, and only [`document`] reads files.
//!
//! The path through it: a [`document::Document`] is the file as written, every value with its place;
//! [`study::Study::expand`] lays arms, grid and seeds over it and yields [`trial::Trial`]s, in which every
//! default is filled; a run of a trial writes [`event::Event`]s and one [`summary::Summary`].

#![forbid(unsafe_code)]

pub mod claim;
mod claim_rules;
pub mod config;
pub mod document;
pub mod event;
pub mod machine;
pub mod prediction;
pub mod problem;
mod rates;
mod rules;
pub mod scenario;
mod shape;
mod structure;
pub mod study;
pub mod summary;
pub mod text;
pub mod trial;
pub mod units;

pub use config::Config;
pub use document::Document;
pub use event::Event;
pub use machine::Machine;
pub use prediction::Prediction;
pub use problem::{Place, Problem, Problems};
pub use rates::Rates;
pub use scenario::json_schema;
pub use study::Study;
pub use summary::Summary;
pub use trial::Trial;
pub use units::Bytes;
