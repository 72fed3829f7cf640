//! One resolved configuration with one seed: what is run, skipped, resumed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;

/// The trial with every default filled, in its folder.
pub const RESOLVED: &str = "resolved.yaml";

/// Bytes of an arm's name in a folder's name: with hashes, seed and a suffix it stays below 255.
const LONGEST_ARM: usize = 150;

/// One resolved configuration with one seed. Saved as `resolved.yaml` beside its results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The scenario's name.
    pub scenario: String,
    /// The arm's name.
    pub arm: String,
    /// The grid or zip point: dotted key → value. Empty where the arm has none of the matrix's keys.
    #[serde(default)]
    pub factors: BTreeMap<String, Value>,
    /// The root of every random stream.
    pub seed: u64,
    /// The configuration, every default filled.
    pub config: Config,
}

impl Trial {
    /// `<arm>-<science hash16>-<execution hash16>-s<seed>`: the folder's name, equal for equal trials. An arm's name that
    /// would make it too long for a file system is cut, and told apart by its hash.
    pub fn id(&self) -> String {
        let (science, execution) = (self.science_hash(), self.execution_hash());
        format!("{}-{}-{}-s{}", shortened(&self.arm), &science[..16], &execution[..16], self.seed)
    }

    /// The folder's name in results of the first versions, which had too few digits to tell all trials apart.
    fn short_id(&self) -> String {
        format!("{}-{}-{}-s{}", self.arm, &self.science_hash()[..8], &self.execution_hash()[..4], self.seed)
    }

    /// Where this trial's results lie within its study's folder: under its id, or under its short id where an earlier
    /// version ran exactly this trial.
    pub fn folder_in(&self, study: &Path) -> PathBuf {
        let folder = study.join(self.id());
        if folder.exists() {
            return folder;
        }
        let short = study.join(self.short_id());
        if matches!(self.compare_with(&short), Ok(Kept::Same)) { short } else { folder }
    }

    /// Whether the trial in a folder is this one.
    ///
    /// # Errors
    /// Its `resolved.yaml` cannot be read.
    pub fn compare_with(&self, folder: &Path) -> Result<Kept, ResolvedError> {
        let text = match fs::read_to_string(folder.join(RESOLVED)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Nothing),
            Err(error) => return Err(error.into()),
        };
        // As a value, because another version may write the same trial differently.
        let kept = Self::from_resolved_yaml(&text)?;
        Ok(self.difference(&kept).map_or(Kept::Same, Kept::Other))
    }

    /// The first key in which two trials differ, with both values; `None` if they are the same trial. Which factors led to
    /// a configuration does not matter.
    fn difference(&self, kept: &Self) -> Option<String> {
        if self.config == kept.config && self.arm == kept.arm && self.seed == kept.seed {
            return None;
        }
        let value = |trial: &Self| serde_json::json!({ "arm": trial.arm, "seed": trial.seed, "config": trial.config });
        let found = first_difference("", &value(kept), &value(self));
        Some(found.unwrap_or_else(|| "a value that is not a number".to_owned()))
    }

    /// Hash (BLAKE3, hexadecimal) of the keys that may change the result.
    pub fn science_hash(&self) -> String {
        hash(&self.config.science())
    }

    /// Hash (BLAKE3, hexadecimal) of the keys that must not change the result.
    pub fn execution_hash(&self) -> String {
        hash(&self.config.execution())
    }

    /// The trial as YAML, every default filled: `resolved.yaml`.
    ///
    /// # Panics
    /// Never: a trial is plain data, with text for keys.
    pub fn resolved_yaml(&self) -> String {
        // Through JSON, so that variants are mappings, as in scenarios, and not YAML tags.
        let value = serde_json::to_value(self).expect("a trial is plain data");
        serde_yaml::to_string(&value).expect("JSON is YAML")
    }

    /// Reads what [`Trial::resolved_yaml`] wrote.
    ///
    /// # Errors
    /// Text that is not a trial, with its line where it is not YAML.
    pub fn from_resolved_yaml(text: &str) -> Result<Self, ResolvedError> {
        let value: Value = serde_yaml::from_str(text)?;
        Ok(serde_json::from_value(value)?)
    }

    /// How tables name this trial's configuration: the arm, and its factors by their last key.
    pub fn label(&self) -> String {
        let factors: Vec<String> =
            self.factors.iter().map(|(key, value)| format!("{}={}", short_key(key), plain(value))).collect();
        if factors.is_empty() { self.arm.clone() } else { format!("{} ({})", self.arm, factors.join(", ")) }
    }
}

/// The trial that a folder holds, beside the one that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There is none.
    Nothing,
    /// The same.
    Same,
    /// Another one, with the first difference.
    Other(String),
}

/// Why a `resolved.yaml` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResolvedError {
    /// The file cannot be read.
    #[error("a resolved trial that cannot be read")]
    File(#[from] io::Error),
    /// There is no such file.
    #[error("missing")]
    Missing,
    /// The text is not YAML.
    #[error("a resolved trial that is not YAML; was it edited or cut off?")]
    Yaml(#[from] serde_yaml::Error),
    /// The YAML is not a trial of this version.
    #[error("YAML that is not a resolved trial of this version")]
    Trial(#[from] serde_json::Error),
}

/// The last part of a dotted key: `interval` of `parallelism.layerwise.interval`.
pub fn short_key(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// A value as people write it: text without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A name, cut and with a hash of all of it where it is too long for a folder's.
pub fn shortened(name: &str) -> String {
    if name.len() <= LONGEST_ARM {
        return name.to_owned();
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let mut end = LONGEST_ARM - 17;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{}", &name[..end], &hash[..16])
}

fn first_difference(key: &str, kept: &Value, asked: &Value) -> Option<String> {
    let (Value::Object(before), Value::Object(now)) = (kept, asked) else {
        return (kept != asked).then(|| format!("{key} is {} there, and {} here", plain(kept), plain(asked)));
    };
    let of = |values: &serde_json::Map<String, Value>, name| values.get(name).cloned().unwrap_or_default();
    before.keys().chain(now.keys()).find_map(|name| {
        let inner = if key.is_empty() || key == "config" { name.clone() } else { format!("{key}.{name}") };
        first_difference(&inner, &of(before, name), &of(now, name))
    })
}

fn hash(value: &Value) -> String {
    // serde_json's maps are sorted by key, so equal values have equal text.
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Path};

    use super::*;
    use crate::{Document, Study};

    fn trial() -> Trial {
        let text = "schema_version: 1\nname: s\nquestion: q\ndata: { source: digits }\nnetwork: { input: [28, 28], layers: \
                    [linear: { units: 10 }] }\ntrain: { optimizer: { sgd: { learning_rate: 0.1 } }, batch_size: 8, steps: 4 }\n";
        let document = Document::from_text(Path::new("s.yaml"), text, &[]).unwrap();
        Study::expand(&document).unwrap().trials.remove(0)
    }

    #[test]
    fn a_hundred_thousand_configurations_of_storage_have_as_many_names() {
        let mut trial = trial();
        let mut names = HashSet::new();
        for depth in 1..=400 {
            for chunk in 1..=250 {
                trial.config.storage.queue_depth = depth;
                trial.config.storage.chunk.0 = chunk * 4096;
                names.insert(trial.id());
            }
        }
        assert_eq!(names.len(), 100_000);
    }

    #[test]
    fn names_of_folders_fit_a_file_system_and_tell_long_arms_apart() {
        let mut trial = trial();
        let id = |trial: &mut Trial, arm: String| {
            trial.arm = arm;
            trial.seed = u64::MAX;
            trial.id()
        };
        let names = ["a", "b"].map(|end| id(&mut trial, format!("{}{end}", "long".repeat(100))));
        assert_ne!(names[0], names[1]);
        assert!(names[0].len() + ".removed".len() <= 255, "{}", names[0]);
        assert!(id(&mut trial, "short".to_owned()).starts_with("short-"));
        assert!(id(&mut trial, "größe".repeat(60)).len() <= 255);
    }

    #[test]
    fn a_folder_is_of_a_trial_only_if_every_key_is_equal() {
        let (study, one) = (tempfile::tempdir().unwrap(), trial());
        let folder = one.folder_in(study.path());
        assert_eq!(one.compare_with(&folder).unwrap(), Kept::Nothing);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(RESOLVED), one.resolved_yaml()).unwrap();
        assert_eq!(one.compare_with(&folder).unwrap(), Kept::Same);
        let relabelled = Trial { factors: [("train.steps".to_owned(), 4.into())].into(), ..one.clone() };
        assert_eq!(relabelled.compare_with(&folder).unwrap(), Kept::Same);
        let other = Trial { seed: 2, ..one };
        assert_eq!(
            other.compare_with(&folder).unwrap(),
            Kept::Other("seed is 1 there, and 2 here".to_owned())
        );
    }
}
