//! Where a trial's extents lie when they lie outside its folder: in a folder that no other trial is ever given.
//!
//! It is named by scenario, folder of results and trial. The trial's folder says where it is, and it says whose it is, so
//! that both are found after the results were moved, and a copy of the results does not take what is the original's.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use spillbench_schema::trial::shortened;

use crate::{RunnerError, error::Context, folder::write_json};

/// In the trial's folder: where its extents are.
const PLACE: &str = "scratch.json";

/// In the folder of extents: whose they are.
const OWNER: &str = "owner.json";

/// What ties a trial's folder and its scratch together: each keeps one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tie {
    /// Where the other one is.
    path: PathBuf,
    /// The same on both sides.
    token: String,
}

/// The scratch of a trial.
pub(crate) struct Scratch {
    /// The trial's folder, from the root.
    trial: PathBuf,
    scenario: String,
}

impl Scratch {
    /// Of the trial in this folder.
    pub(crate) fn of(trial: &Path, scenario: &str) -> Self {
        Self { trial: from_root(trial), scenario: scenario.to_owned() }
    }

    /// Where it is, or would be.
    pub(crate) fn find(&self, dir: &Path) -> PathBuf {
        self.tied().map_or_else(|| self.free(dir), |tie| tie.path)
    }

    /// Makes it, and ties it to the trial's folder.
    pub(crate) fn own(&self, dir: &Path) -> Result<PathBuf, RunnerError> {
        let tie = self.tied().unwrap_or_else(|| Tie { path: self.free(dir), token: token() });
        write_json(&self.trial.join(PLACE), &tie)?;
        fs::create_dir_all(&tie.path).context("create", &tie.path)?;
        write_json(&tie.path.join(OWNER), &Tie { path: self.trial.clone(), token: tie.token })?;
        Ok(tie.path)
    }

    /// The scratch that the trial's folder names, if it is there and this trial's.
    fn tied(&self) -> Option<Tie> {
        let tie = read(&self.trial.join(PLACE))?;
        if !tie.path.exists() {
            return None;
        }
        // Without an owner it was cut off while it was made.
        let Some(owner) = read(&tie.path.join(OWNER)) else { return Some(tie) };
        let was_moved = || read(&owner.path.join(PLACE)).is_none_or(|there| there.token != tie.token);
        (owner.token == tie.token && (owner.path == self.trial || was_moved())).then_some(tie)
    }

    /// The first name that nobody has. The first of all, but where results were moved and others begun in their place.
    fn free(&self, dir: &Path) -> PathBuf {
        let id = self.trial.file_name().unwrap_or_default();
        let results = self.trial.ancestors().nth(2).unwrap_or(Path::new("/"));
        let hash = blake3::hash(results.as_os_str().as_encoded_bytes()).to_hex();
        let study = from_root(dir).join(format!("{}-{}", shortened(&self.scenario), &hash[..16]));
        let first = study.join(id);
        let later = (2_u32..).map(|number| {
            let mut name = id.to_owned();
            name.push(format!(".{number}"));
            study.join(name)
        });
        std::iter::once(first.clone()).chain(later).find(|path| !path.exists()).unwrap_or(first)
    }
}

fn read(path: &Path) -> Option<Tie> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn token() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", random(), random())
}

/// A path from the root without links, as far as it exists.
fn from_root(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let Ok(found) = existing.canonicalize() {
            return path.strip_prefix(existing).map_or(path.clone(), |rest| found.join(rest));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of results with a trial's folder, and a disk for extents.
    struct Disk {
        root: tempfile::TempDir,
    }

    impl Disk {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }

        fn dir(&self) -> PathBuf {
            self.root.path().join("nvme")
        }

        fn trial(&self, results: &str, scenario: &str) -> Scratch {
            let folder = self.root.path().join(results).join(scenario).join("arm-s1");
            fs::create_dir_all(&folder).unwrap();
            Scratch::of(&folder, scenario)
        }

        fn r#move(&self, from: &str, to: &str) {
            fs::rename(self.root.path().join(from), self.root.path().join(to)).unwrap();
        }
    }

    #[test]
    fn equal_trials_of_other_results_or_scenarios_have_other_folders() {
        let disk = Disk::new();
        let places = [("alice", "study"), ("bob", "study"), ("alice", "other")];
        let folders =
            places.map(|(results, scenario)| disk.trial(results, scenario).own(&disk.dir()).unwrap());
        assert!(
            folders[0] != folders[1] && folders[0] != folders[2] && folders[1] != folders[2],
            "{folders:?}"
        );
        for ((results, scenario), folder) in places.into_iter().zip(folders) {
            assert_eq!(disk.trial(results, scenario).find(&disk.dir()), folder, "it is found again");
        }
    }

    #[test]
    fn moved_results_keep_their_scratch_and_others_in_their_place_have_another() {
        let disk = Disk::new();
        let folder = disk.trial("results", "study").own(&disk.dir()).unwrap();
        disk.r#move("results", "elsewhere");
        let other = disk.trial("results", "study").own(&disk.dir()).unwrap();
        assert_ne!(other, folder);
        assert_eq!(disk.trial("elsewhere", "study").own(&disk.dir()).unwrap(), folder);
        assert_eq!(disk.trial("results", "study").find(&disk.dir()), other);
    }

    #[test]
    fn copied_results_do_not_take_the_scratch_of_the_original() {
        let disk = Disk::new();
        let original = disk.trial("results", "study");
        let folder = original.own(&disk.dir()).unwrap();
        let copy = disk.trial("copy", "study");
        fs::copy(original.trial.join(PLACE), copy.trial.join(PLACE)).unwrap();
        assert_ne!(copy.own(&disk.dir()).unwrap(), folder);
        assert_eq!(original.find(&disk.dir()), folder);
    }
}
