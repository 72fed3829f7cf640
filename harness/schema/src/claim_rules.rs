//! Rules for claims and references: one kind each, known metrics, and selections that select something.

use std::collections::BTreeSet;

use crate::{
    claim::{Claim, Selector},
    document::{Content, Entry, Node},
    problem::{Problem, nearest, suggestion},
    study::{Arm, Plan, Study},
    summary::Summary,
    trial::short_key,
};

/// Checks each claim and reference against the arms and the matrix.
pub(crate) fn check(root: &Node, arms: &[Arm], plan: &Plan<'_>, problems: &mut Vec<Problem>) {
    let metrics = Summary::metrics();
    let numbers: Vec<_> = metrics.iter().filter(|m| m.numeric).map(|m| m.name.as_str()).collect();
    let fields: Vec<_> = metrics.iter().map(|m| m.name.as_str()).collect();
    let mut rules = Rules { arms, plan, problems };
    let mut ids = BTreeSet::new();
    for claim in root.child("claims").map_or(&[][..], Node::items) {
        if let Some(id) = claim.child("id")
            && id.text().is_some_and(|text| !ids.insert(text.to_owned()))
        {
            rules.report(
                id,
                format!("another claim has the id `{}`; give each its own", id.text().unwrap_or("")),
            );
        }
        rules.kinds(claim);
        for (kind, valid) in [("non_inferior", &numbers), ("equal", &fields), ("bound", &numbers)] {
            let Some(body) = claim.child(kind) else { continue };
            rules.metric(body, valid);
            let selectors = ["arm", "to"].into_iter().filter_map(|key| body.child(key));
            for selector in selectors.chain(body.child("arms").map_or(&[][..], Node::items)) {
                rules.selector(selector);
            }
        }
    }
    for reference in root.child("references").map_or(&[][..], Node::items) {
        rules.metric(reference, &numbers);
        rules.along(reference);
    }
}

/// Checks what each claim selects of the trials there are.
pub(crate) fn check_selections(root: &Node, study: &Study, problems: &mut Vec<Problem>) {
    for (index, claim) in study.claims.iter().enumerate() {
        let place = |key: &str| root.place_of(&format!("claims.{index}.{key}"));
        for (key, selector) in selectors(claim) {
            if configurations(study, &[selector]) == 0 {
                problems.push(Problem::new(
                    place(&key),
                    "no trial has these values together; select a point of the matrix",
                ));
            }
        }
        if let Some(equal) = &claim.equal
            && configurations(study, &equal.arms.iter().collect::<Vec<_>>()) < 2
        {
            let message = "one configuration is always equal to itself; select at least two";
            problems.push(Problem::new(place("equal.arms"), message));
        }
    }
}

/// The selectors of a claim and their keys in it.
fn selectors(claim: &Claim) -> Vec<(String, &Selector)> {
    let mut all = Vec::new();
    if let Some(claim) = &claim.non_inferior {
        all.push(("non_inferior.arm".to_owned(), &claim.arm));
        all.push(("non_inferior.to".to_owned(), &claim.to));
    }
    if let Some(claim) = &claim.equal {
        all.extend(claim.arms.iter().enumerate().map(|(index, arm)| (format!("equal.arms.{index}"), arm)));
    }
    if let Some(claim) = &claim.bound {
        all.push(("bound.arm".to_owned(), &claim.arm));
    }
    all
}

/// How many configurations are selected by any of the selectors.
fn configurations(study: &Study, selectors: &[&Selector]) -> usize {
    let selected = study.trials.iter().filter(|t| selectors.iter().any(|s| s.selects(&t.arm, &t.factors)));
    selected.map(|trial| (trial.arm.as_str(), trial.label())).collect::<BTreeSet<_>>().len()
}

struct Rules<'a, 'p> {
    arms: &'a [Arm],
    plan: &'a Plan<'a>,
    problems: &'p mut Vec<Problem>,
}

impl Rules<'_, '_> {
    fn report(&mut self, at: &Node, message: impl Into<String>) {
        self.problems.push(Problem::new(&at.place, message));
    }

    fn kinds(&mut self, claim: &Node) {
        let Content::Mapping(_) = claim.content else { return };
        let given = |kind: &&str| claim.child(kind).is_some_and(|body| !body.is_null());
        let kinds: Vec<_> = ["non_inferior", "equal", "bound"].into_iter().filter(given).collect();
        if kinds.len() != 1 {
            let found =
                if kinds.is_empty() { "has none".to_owned() } else { format!("has {}", kinds.join(" and ")) };
            self.report(
                claim,
                format!("a claim is exactly one of non_inferior, equal, bound, but this one {found}"),
            );
        }
        let Some(bound) = claim.child("bound") else { return };
        match ["at_least", "at_most"].map(|key| bound.child(key).and_then(Node::number)) {
            [Some(least), Some(most)] if least > most => {
                self.report(bound, format!("at_least is {least}, above at_most, which is {most}; swap them"));
            }
            [None, None] if matches!(bound.content, Content::Mapping(_)) => {
                self.report(bound, "a bound needs at_least, at_most or both");
            }
            _ => {}
        }
    }

    fn metric(&mut self, body: &Node, valid: &[&str]) {
        let Some(node) = body.child("metric") else { return };
        let Some(name) = node.text() else { return };
        if !valid.contains(&name) {
            self.report(node, format!("there is no metric `{name}` here{}", suggestion(name, valid)));
        }
    }

    fn along(&mut self, reference: &Node) {
        let Some(node) = reference.child("along") else { return };
        let Some(key) = node.text() else { return };
        let keys: Vec<_> = self.plan.keys().map(|varied| varied.key).collect();
        if !keys.iter().any(|varied| *varied == key || short_key(varied) == key) {
            self.report(node, format!("the matrix has no key `{key}`{}", suggestion(key, &keys)));
        }
    }

    fn selector(&mut self, selector: &Node) {
        match &selector.content {
            Content::Scalar(_) => {
                if let Some(name) = selector.text() {
                    self.arm(selector, name);
                }
            }
            Content::Mapping(entries) => {
                let [entry] = entries.as_slice() else {
                    self.report(
                        selector,
                        format!("a selection names exactly one arm, but this one names {}", entries.len()),
                    );
                    return;
                };
                if let Some(arm) = self.arm(selector, &entry.key) {
                    for factor in entry.value.entries() {
                        self.factor(arm, factor);
                    }
                }
            }
            Content::Sequence(_) => {}
        }
    }

    fn arm(&mut self, at: &Node, name: &str) -> Option<usize> {
        let found = self.arms.iter().position(|arm| arm.name == name);
        if found.is_none() {
            let names: Vec<_> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
            self.report(at, format!("there is no arm `{name}`{}", suggestion(name, &names)));
        }
        found
    }

    fn factor(&mut self, arm: usize, factor: &Entry) {
        let Entry { key, key_place, value } = factor;
        let arm = &self.arms[arm];
        let keys = self.plan.keys_of(arm);
        let matching: Vec<_> =
            keys.iter().filter(|v| v.key == key.as_str() || short_key(v.key) == key).collect();
        if matching.is_empty() {
            // A misspelt key of the matrix is told there, and not again by every claim that uses it.
            if self.plan.complete {
                let names: Vec<_> = keys.iter().map(|varied| short_key(varied.key)).collect();
                let message = format!(
                    "the matrix has no key `{key}` for arm `{}`{}",
                    arm.name,
                    suggestion(key, &names)
                );
                self.problems.push(Problem::new(key_place, message));
            }
            return;
        }
        let values: Vec<_> = matching.iter().flat_map(|varied| varied.values).map(Node::to_json).collect();
        let wanted = value.to_json();
        if !values.contains(&wanted) {
            let names: Vec<_> = values.iter().map(ToString::to_string).collect();
            let near = nearest_value(&wanted, &names);
            let meant = near.map_or_else(String::new, |name| format!(" did you mean {name}?"));
            self.report(
                value,
                format!("`{key}` is never {wanted} in the matrix;{meant} values: {}", names.join(", ")),
            );
        }
    }
}

/// The nearest in value for a number, in spelling for the rest.
fn nearest_value<'a>(wanted: &serde_json::Value, names: &'a [String]) -> Option<&'a str> {
    let Some(wanted) = wanted.as_f64() else {
        return nearest(&wanted.to_string(), names.iter().map(String::as_str));
    };
    let numbers = names.iter().filter_map(|name| Some((name.parse::<f64>().ok()?, name)));
    let distance = |number: f64| (number - wanted).abs();
    numbers.min_by(|a, b| distance(a.0).total_cmp(&distance(b.0))).map(|(_, name)| name.as_str())
}
