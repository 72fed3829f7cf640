//! Machines that execute schedules without computing: each asserts what a real one would rely on.

pub mod clock;
pub mod memory;
pub mod snapshots;
pub mod team;
pub mod workspace;
