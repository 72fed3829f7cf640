//! From a document to a study: arms over the base, flags over arms, the matrix over both, a check of each
//! configuration, and one trial a seed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Study,
    varied::{Plan, Point, assignment, factors},
};
use crate::{
    claim_rules,
    config::Config,
    document::{Content, Document, Node, overlay},
    problem::{Problem, Problems},
    rules,
    scenario::CONFIG_KEYS,
    shape::Schema,
    structure,
    trial::Trial,
};

/// More trials than this are taken for a slip of the pen.
const MOST_TRIALS: u64 = 100_000;

/// A named variant: the base with the arm's and the flags' overrides.
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) config: Node,
}

/// One configuration, before its seeds.
struct Configuration {
    arm: usize,
    factors: BTreeMap<String, serde_json::Value>,
    config: Config,
}

impl Study {
    /// Lays arms, grid and seeds over a document: arm by arm as written, the grid's first key outermost, seeds
    /// innermost.
    ///
    /// # Errors
    /// Everything that is wrong with the scenario, each problem once and with its place.
    pub fn expand(document: &Document) -> Result<Self, Problems> {
        let root = &document.root;
        let mut problems = document.problems.clone();
        if root.child("question").is_none() {
            problems.push(Problem::new(&root.place, "the scenario lacks the key `question`"));
        }
        let arms = arms(document, &mut problems);
        let plan = Plan::new(root, &mut problems);
        plan.check_use(&arms, &mut problems);
        claim_rules::check(root, &arms, &plan, &mut problems);

        let trials = arms.iter().fold(0_u64, |sum, arm| sum.saturating_add(plan.count(arm)));
        let trials = trials.saturating_mul(plan.seeds.count());
        if trials > MOST_TRIALS {
            let message = format!("the matrix makes {trials} trials; {MOST_TRIALS} is the most, so split it");
            problems.push(Problem::new(root.place_of("matrix"), message));
            return Err(refused(problems));
        }
        let configurations = configurations(root, &arms, &plan, &mut problems);
        Problems::none_of(problems)?;

        let study = Self {
            name: root.child("name").and_then(Node::text).unwrap_or_default().to_owned(),
            question: root.child("question").and_then(Node::text).unwrap_or_default().to_owned(),
            claims: typed(root, "claims")?,
            references: typed(root, "references")?,
            trials: Vec::new(),
        };
        let trials = trials_of(&study.name, &arms, &configurations, &plan);
        let study = Self { trials, ..study };
        let mut problems = Vec::new();
        repeated_trials(root, &study.trials, &mut problems);
        claim_rules::check_selections(root, &study, &mut problems);
        Problems::none_of(problems)?;
        Ok(study)
    }
}

fn refused(problems: Vec<Problem>) -> Problems {
    Problems::none_of(problems).expect_err("there is at least one problem")
}

/// The base with each arm's overrides, and the flags' over those.
fn arms(document: &Document, problems: &mut Vec<Problem>) -> Vec<Arm> {
    let root = &document.root;
    let base = root.entries().iter().filter(|entry| CONFIG_KEYS.contains(&entry.key.as_str()));
    let base = Node { place: root.place.clone(), content: Content::Mapping(base.cloned().collect()) };
    let written = root.child("arms").map_or(&[][..], Node::entries);
    if written.is_empty() {
        return vec![Arm { name: "default".to_owned(), config: base }];
    }
    let mut arms = Vec::with_capacity(written.len());
    for entry in written {
        let mut config = base.clone();
        // An arm that is no mapping has been told; the base stands in for it.
        if let Content::Mapping(_) = entry.value.content {
            overlay(&mut config, &entry.value, Some(Schema::config()));
        }
        for flag in &document.overrides {
            if let Err(problem) = flag.apply(&mut config, Some(Schema::config())) {
                problems.push(problem);
            }
        }
        arms.push(Arm { name: entry.key.clone(), config });
    }
    arms
}

/// Each arm at each of its points. What is wrong with several is told once; what is wrong with some arms names
/// them.
fn configurations(
    root: &Node,
    arms: &[Arm],
    plan: &Plan<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Configuration> {
    let mut configurations = Vec::new();
    let mut found: BTreeMap<Problem, BTreeSet<usize>> = BTreeMap::new();
    for (index, arm) in arms.iter().enumerate() {
        for point in plan.points(arm) {
            match configuration(&arm.config, &point) {
                Ok(config) => configurations.push(Configuration {
                    arm: index,
                    factors: factors(&point).into_iter().collect(),
                    config,
                }),
                Err(wrong) => {
                    for problem in wrong {
                        found.entry(problem).or_default().insert(index);
                    }
                }
            }
        }
    }
    let told: BTreeSet<Problem> = problems.iter().cloned().collect();
    for (mut problem, in_arms) in found {
        if told.contains(&problem) {
            continue;
        }
        if in_arms.len() < arms.len() {
            let names: Vec<_> = in_arms.iter().map(|index| format!("`{}`", arms[*index].name)).collect();
            let plural = if names.len() == 1 { "arm" } else { "arms" };
            problem.message = format!("{} ({plural} {})", problem.message, names.join(", "));
        }
        problems.push(problem);
    }
    if configurations.is_empty() && problems.is_empty() {
        problems.push(Problem::new(&root.place, "the scenario has no trials"));
    }
    configurations
}

fn configuration(arm: &Node, point: &Point<'_>) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut node = arm.clone();
    for (key, value) in point {
        if let Err(problem) = assignment(key, value).apply(&mut node, Some(Schema::config())) {
            problems.push(problem);
        }
    }
    structure::check_config(&node, &mut problems);
    rules::check(&node, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    // The schema and the types agree, so this refuses only what the schema cannot say.
    serde_json::from_value(node.to_json())
        .map_err(|error| vec![Problem::new(&node.place, format!("not a configuration: {error}"))])
}

fn trials_of(scenario: &str, arms: &[Arm], configurations: &[Configuration], plan: &Plan<'_>) -> Vec<Trial> {
    let seeds = plan.seeds.values();
    let trial = |configuration: &Configuration, seed: u64| Trial {
        scenario: scenario.to_owned(),
        arm: arms[configuration.arm].name.clone(),
        factors: configuration.factors.clone(),
        seed,
        config: configuration.config.clone(),
    };
    configurations.iter().flat_map(|c| seeds.iter().map(move |seed| trial(c, *seed))).collect()
}

/// Two points can differ as written and be the same trial: `1` and `1.0`, or a default written out. The first
/// such pair is told.
fn repeated_trials(root: &Node, trials: &[Trial], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<String, &Trial> = BTreeMap::new();
    for trial in trials {
        let Some(first) = seen.insert(trial.id(), trial) else { continue };
        let message = format!(
            "`{}` and `{}` are the same trial, {}; remove one",
            first.label(),
            trial.label(),
            trial.id()
        );
        problems.push(Problem::new(root.place_of("matrix"), message));
        return;
    }
}

fn typed<T: serde::de::DeserializeOwned + Default>(root: &Node, key: &str) -> Result<T, Problem> {
    let Some(node) = root.child(key) else { return Ok(T::default()) };
    serde_json::from_value(node.to_json())
        .map_err(|error| Problem::new(&node.place, format!("`{key}` cannot be read: {error}")))
}
