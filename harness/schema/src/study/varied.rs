//! What a scenario's matrix varies: keys, their values, and the points that an arm takes of them.

use serde_json::Value;

use super::{Arm, Seeds};
use crate::{
    document::{Assignment, Content, Entry, Node},
    problem::{Place, Problem, suggestion},
    shape::{has_key, known_key},
};

/// A key and the values it takes.
pub(crate) struct Varied<'a> {
    /// The dotted key.
    pub(crate) key: &'a str,
    place: &'a Place,
    /// The values, in order.
    pub(crate) values: &'a [Node],
}

/// A matrix whose keys are known and whose lists are sound; what was not is told apart.
pub(crate) struct Plan<'a> {
    grid: Vec<Varied<'a>>,
    zip: Vec<Varied<'a>>,
    /// The names of the arms that take them; none for all.
    arms: Option<&'a [Node]>,
    /// Whether every key that is written is known.
    pub(crate) complete: bool,
    /// The seeds.
    pub(crate) seeds: Seeds,
}

/// One point: the values of the keys that an arm has.
pub(crate) type Point<'a> = Vec<(&'a str, &'a Node)>;

impl<'a> Plan<'a> {
    pub(crate) fn new(root: &'a Node, problems: &mut Vec<Problem>) -> Self {
        let entries = |part| root.at(part).map_or(&[][..], Node::entries);
        let grid = varied(entries("matrix.grid"), problems);
        for key in &grid {
            repeated_values(key.key, key.values, problems);
        }
        let zip = varied(entries("matrix.zip"), problems);
        for key in &zip {
            if grid.iter().any(|other| other.key == key.key) {
                let message = format!("`{}` is in matrix.grid and in matrix.zip; keep it in one", key.key);
                problems.push(Problem::new(key.place, message));
            }
            if key.values.len() != zip[0].values.len() {
                let message = format!(
                    "the lists of matrix.zip advance together, but `{}` has length {} and `{}` has length {}",
                    key.key,
                    key.values.len(),
                    zip[0].key,
                    zip[0].values.len()
                );
                problems.push(Problem::new(key.place, message));
            }
        }
        if let Some(seeds) = root.at("matrix.seeds") {
            repeated_values("matrix.seeds", seeds.items(), problems);
        }
        let seeds = root.at("matrix.seeds").and_then(|seeds| serde_json::from_value(seeds.to_json()).ok());
        let complete = grid.len() + zip.len() == entries("matrix.grid").len() + entries("matrix.zip").len();
        let arms = root.at("matrix.arms").map(Node::items);
        if let Some(arms) = arms {
            repeated_values("matrix.arms", arms, problems);
        }
        Self { grid, zip, arms, complete, seeds: seeds.unwrap_or_default() }
    }

    /// All keys, those of `grid` first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Varied<'a>> {
        self.grid.iter().chain(&self.zip)
    }

    /// The keys that an arm takes.
    pub(crate) fn keys_of(&self, arm: &Arm) -> Vec<&Varied<'a>> {
        self.keys().filter(|varied| self.takes(arm, varied)).collect()
    }

    /// Whether a key is varied in an arm: it has the key, and is not left out.
    fn takes(&self, arm: &Arm, varied: &Varied<'a>) -> bool {
        let named = |arms: &[Node]| arms.iter().any(|name| name.text() == Some(&arm.name));
        self.arms.is_none_or(named) && has_key(&arm.config, varied.key)
    }

    /// Tells the arms that there are not, and the keys that no arm takes.
    pub(crate) fn check_use(&self, arms: &[Arm], problems: &mut Vec<Problem>) {
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        let unknown = |node: &&Node| node.text().is_some_and(|name| !names.contains(&name));
        for node in self.arms.unwrap_or_default().iter().filter(unknown) {
            let name = node.text().unwrap_or_default();
            let message = format!("there is no arm `{name}`{}", suggestion(name, &names));
            problems.push(Problem::new(&node.place, message));
        }
        if let (Some([first, ..]), None) = (self.arms, self.keys().next()) {
            let message =
                "names arms for `grid` and `zip`, of which there are none; every arm runs with every seed";
            problems.push(Problem::new(&first.place, format!("`matrix.arms` {message}")));
        }
        for varied in self.keys() {
            if !arms.iter().any(|arm| self.takes(arm, varied)) {
                let message = format!(
                    "no arm{} has the key `{}`; select what it belongs to in an arm, or take it out of the matrix",
                    if self.arms.is_some() { " of `matrix.arms`" } else { "" },
                    varied.key
                );
                problems.push(Problem::new(varied.place, message));
            }
        }
    }

    /// How many points an arm takes, at most.
    pub(crate) fn count(&self, arm: &Arm) -> u64 {
        self.dimensions(arm).iter().fold(1, |count, dimension| count.saturating_mul(dimension.len() as u64))
    }

    /// The points of an arm, the first key outermost.
    pub(crate) fn points(&self, arm: &Arm) -> Vec<Point<'a>> {
        self.dimensions(arm).into_iter().fold(vec![Vec::new()], |points, dimension| {
            let extended = |point: &Point<'a>| {
                let point = point.clone();
                dimension.iter().map(move |step| [point.as_slice(), step].concat()).collect::<Vec<_>>()
            };
            points.iter().flat_map(extended).collect()
        })
    }

    /// Each grid key alone, then the rows of `zip`, as far as the arm takes their keys.
    fn dimensions(&self, arm: &Arm) -> Vec<Vec<Point<'a>>> {
        let has = |varied: &&Varied<'a>| self.takes(arm, varied);
        let mut dimensions: Vec<Vec<Point<'a>>> = self
            .grid
            .iter()
            .filter(has)
            .map(|varied| varied.values.iter().map(|value| vec![(varied.key, value)]).collect())
            .collect();
        let zip: Vec<_> = self.zip.iter().filter(has).collect();
        let rows = zip.iter().map(|varied| varied.values.len()).min().unwrap_or(0);
        if rows > 0 {
            let row = |index: usize| zip.iter().map(|v| (v.key, &v.values[index])).collect::<Point<'a>>();
            let mut dimension: Vec<Point<'a>> = Vec::with_capacity(rows);
            for point in (0..rows).map(row) {
                // Rows that differ only in keys this arm lacks are one row.
                if !dimension.iter().any(|other| factors(other) == factors(&point)) {
                    dimension.push(point);
                }
            }
            dimensions.push(dimension);
        }
        dimensions
    }
}

/// The values of a point, without their places.
pub(crate) fn factors(point: &Point<'_>) -> Vec<(String, Value)> {
    point.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect()
}

/// The value of a point's key, to be laid over a configuration.
pub(crate) fn assignment(key: &str, value: &Node) -> Assignment {
    Assignment {
        path: key.split('.').map(str::to_owned).collect(),
        value: value.clone(),
        place: value.place.clone(),
    }
}

/// The entries of `grid` or `zip` that name known keys and have lists. A value may repeat in `zip`.
fn varied<'a>(entries: &'a [Entry], problems: &mut Vec<Problem>) -> Vec<Varied<'a>> {
    let mut all = Vec::new();
    for Entry { key, key_place: place, value } in entries {
        if let Err(unknown) = known_key(key) {
            let within = match unknown.parent.as_str() {
                "" => String::new(),
                parent => format!(" in `{parent}`"),
            };
            let message = format!(
                "unknown key `{}`{within}{}",
                unknown.segment,
                suggestion(&unknown.segment, &unknown.valid)
            );
            problems.push(Problem::new(place, message));
        } else if let Content::Sequence(values) = &value.content {
            if values.is_empty() {
                problems
                    .push(Problem::new(&value.place, format!("`{key}` has no values; give it at least one")));
            }
            all.push(Varied { key, place, values });
        }
    }
    all
}

fn repeated_values(key: &str, values: &[Node], problems: &mut Vec<Problem>) {
    for (index, value) in values.iter().enumerate() {
        if values[..index].iter().any(|other| other.to_json() == value.to_json()) {
            let message = format!("`{key}` has the value {} twice; remove one", value.to_json());
            problems.push(Problem::new(&value.place, message));
        }
    }
}
