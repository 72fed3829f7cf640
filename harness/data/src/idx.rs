//! The IDX format.
