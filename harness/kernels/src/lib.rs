//! Fused compute of the linear layer on the CPU: its three products, its activations, its update.
//!
//! Every product here obeys one rule, which is what makes results comparable bit for bit: an output element
//! is folded over the reduced dimension in blocks of [`REDUCTION_BLOCK`], each block summed from zero in
//! index order by fused multiply-adds, the blocks added in order. Nothing else enters: not the panel, the
//! number of rows beside it, the tile it falls in, nor the number of threads. So an operation may be cut
//! anywhere but along its reduction, and its bits stay.
//!
//! Work is cut by its shape, and by which threads of the current rayon pool are free: neither changes a bit.
//!
//! | operation | product | reduced over |
//! |---|---|---|
//! | [`forward`] | y = act(x·Wᵀ + b) | inputs |
//! | [`input_error`] | dx = dz·W | the panel's units |
//! | [`gradient()`], [`update`] | dW = dzᵀ·x | samples |

mod activation;
mod choice;
mod exponential;
mod few;
mod forward;
mod gradient;
mod input_error;
mod loss;
mod micro;
mod panel;
mod parallel;
mod peak;
mod precision;
mod product;
mod rule;
mod scratch;
mod strip;
mod vectorised;
mod workspace;

#[cfg(test)]
mod check;
#[cfg(test)]
mod same_bits;

pub use activation::{OutputActivation, activation_backward};
pub use choice::{Operation, kernel_name};
pub use forward::forward;
pub use gradient::{Chunk, gradient, update, update_folded};
pub use input_error::input_error;
pub use loss::{correct_count, loss_cross_entropy, loss_mse};
pub use panel::Panel;
pub use peak::PeakLoop;
pub use precision::{Parameters, ParametersMut, round_to_nearest};
pub use rule::{UpdateRule, add, apply};
pub use scratch::Scratch;

/// Terms of a reduction that are summed in one run, before the run is added to the result.
pub const REDUCTION_BLOCK: usize = 256;
