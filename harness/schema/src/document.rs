//! A scenario as written: a tree in which every value has its place, after `extends` and `--set`.
//!
//! This is the only module that reads files. Precedence, strongest first: flags, the file, the files it extends.

mod encoding;
mod load;
mod merge;
mod node;
mod parse;

pub(crate) use merge::{Assignment, overlay};
pub use node::{Content, Entry, Node, Scalar};

use crate::problem::Problem;

/// A scenario as written: the file, the files it extends and the flags, in one tree.
#[derive(Debug)]
pub struct Document {
    /// The tree, flags included.
    pub(crate) root: Node,
    /// The flags on keys of the configuration, which win over arms.
    pub(crate) overrides: Vec<Assignment>,
    /// What is wrong so far.
    pub(crate) problems: Vec<Problem>,
}
