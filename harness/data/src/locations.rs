//! Where files are looked for.

use std::path::{Path, PathBuf};

use spillbench_schema::config::DataConfig;

/// The folders that hold a folder a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataLocations {
    /// The user's folder, `$SPILLBENCH_DATA`.
    pub root: Option<PathBuf>,
}

impl DataLocations {
    /// The name of the variable with the user's folder.
    pub const VARIABLE: &str = "SPILLBENCH_DATA";

    /// As the environment says.
    pub fn from_env() -> Self {
        Self { root: std::env::var_os(Self::VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from) }
    }

    /// The folders to search, in order: `data.dir` alone if it is given, else `<root>/<source>` and
    /// `data/<source>` in the current folder.
    pub fn candidates(&self, config: &DataConfig) -> Vec<PathBuf> {
        if let Some(dir) = &config.dir {
            return vec![dir.clone()];
        }
        let name = config.source.name();
        let user = self.root.as_ref().map(|root| root.join(name));
        user.into_iter().chain([Path::new("data").join(name)]).collect()
    }
}
