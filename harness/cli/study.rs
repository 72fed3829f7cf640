//! From the command line to a study.

use spillbench_schema::Study;

use crate::{arguments::StudyArguments, exit::Failure};

impl StudyArguments {
    /// The scenario, expanded.
    ///
    /// # Errors
    /// All that is wrong with the file and the flags.
    pub fn load(&self) -> Result<Study, Failure> {
        Study::load(&self.scenario, &self.set).map_err(Failure::usage)
    }

    /// The study's folder.
    pub fn folder(&self, study: &Study) -> std::path::PathBuf {
        self.results.join(&study.name)
    }
}
