//! The most values that are in a rank's pool at once.

use super::{ActivationPlan, Policy};
use crate::network::Boundary;

/// Bytes of a pool in which a step passes forward and backward: the walk of `strategy::passage`, in which every slot
/// is as far as the others and nothing is read before it is needed.
pub fn bytes(plan: &ActivationPlan) -> u64 {
    let depth = plan.policies().len();
    let mut pool = Pool { plan, held: vec![false; depth], bytes: 0, most: 0 };
    pool.hold(0);
    for layer in 0..depth {
        pool.hold(layer + 1);
        if plan.policies()[layer] != Policy::Keep {
            pool.let_go(layer);
        }
    }
    for layer in (0..depth).rev() {
        let base = usize::from(plan.base(Boundary(layer as u16)).0);
        for at in base..=layer {
            pool.hold(at);
        }
        pool.let_go(layer + 1);
    }
    pool.most
}

struct Pool<'a> {
    plan: &'a ActivationPlan,
    held: Vec<bool>,
    bytes: u64,
    most: u64,
}

impl Pool<'_> {
    /// The network's output lies elsewhere.
    fn hold(&mut self, at: usize) {
        if at < self.held.len() && !std::mem::replace(&mut self.held[at], true) {
            self.bytes += self.size(at);
            self.most = self.most.max(self.bytes);
        }
    }

    fn let_go(&mut self, at: usize) {
        if at < self.held.len() && std::mem::replace(&mut self.held[at], false) {
            self.bytes -= self.size(at);
        }
    }

    fn size(&self, at: usize) -> u64 {
        u64::from(self.plan.slots) * self.plan.bytes(Boundary(at as u16))
    }
}
