//! The schedule: what each rank does, in order, as a pure value.
//!
//! A strategy and a storage mode do not run anything. Together they yield, for each rank, a lazily produced
//! sequence of [`Op`]s on panels, layers and slots. `run` executes it, `plan` costs it, tests read it. There is
//! no I/O here, no tensor, no thread and no clock.
//!
//! - [`network`] cuts a network into layers and panels; [`timeline`] cuts training into steps and chunks.
//! - [`strategy`] emits the operations of a rank; [`weave`] adds the reads and writes that a budget makes
//!   necessary; [`budget`] decides what stays resident.
//! - [`activations`] decides which values stay between forward and backward.
//! - [`plan`] puts these together for a trial and counts the bytes of the result.
//! - [`rates_on`] takes from a described machine what choices are weighed by; [`projection`] says how long a trial takes
//!   there.

#![forbid(unsafe_code)]

pub mod activations;
pub mod budget;
pub mod extent;
pub mod network;
pub mod op;
pub mod partition;
pub mod plan;
pub mod projection;
mod rates;
mod size;
pub mod strategy;
pub mod timeline;
pub mod weave;

pub use activations::{ActivationExtent, ActivationPlan, Policy, Price};
pub use budget::{BudgetError, MemoryPlan};
pub use extent::{Extent, ExtentKind, Extents};
pub use network::{Boundary, Layer, LayerId, LayerKind, Network, PanelGeometry, PanelId};
pub use op::{ErrorFlow, Message, Op, Phase, Rank, Slot, SlotRange, Source, Version};
pub use plan::{Plan, PlanError, SampleCounts};
pub use projection::project;
pub use rates::rates_on;
pub use size::SizeError;
pub use timeline::Timeline;
