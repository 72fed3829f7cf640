//! Decides a scenario's claims.
//!
//! A selector may choose several configurations. The claim then has to hold for each of them, and the verdict is
//! that of the worst: such an intersection needs no correction for the number of comparisons.
//! A pass also needs every trial that was chosen to have finished: trials do not fail at random.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spillbench_schema::{
    claim::{Bound, Claim, Equal, NonInferior, Selector},
    trial::plain,
};

use super::{diverged, sequence};
use crate::{
    format,
    metric::{self, Nature},
    results::{Configuration, Results},
    statistics::{Decision, Interval, Judgement, non_inferiority, within_bounds},
    verdict::{Origin, Outcome, Verdict},
};

/// One verdict for each claim, in the scenario's order.
pub fn decide(results: &Results) -> Vec<Verdict> {
    let claims = &results.study.claims;
    let mut verdicts: Vec<Verdict> = claims.iter().map(|claim| decide_one(results, claim)).collect();
    sequence::gate(claims, &mut verdicts);
    verdicts
}

/// What a kind of claim finds, before it is put in words for the whole claim.
#[derive(Debug)]
struct Finding {
    outcome: Outcome,
    measured: String,
    n: usize,
    remedy: Option<String>,
}

impl Finding {
    fn none(measured: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::NoData,
            measured: measured.into(),
            n: 0,
            remedy: Some("run the scenario; if trials failed, see their messages".to_owned()),
        }
    }
}

fn decide_one(results: &Results, claim: &Claim) -> Verdict {
    let (mut finding, selectors) = if let Some(rule) = &claim.non_inferior {
        (decide_non_inferior(results, rule), vec![&rule.arm, &rule.to])
    } else if let Some(rule) = &claim.equal {
        (decide_equal(results, rule), rule.arms.iter().collect())
    } else if let Some(rule) = &claim.bound {
        (decide_bound(results, rule), vec![&rule.arm])
    } else {
        (Finding::none("the claim states nothing that can be measured"), Vec::new())
    };
    let missing = results
        .unfinished
        .iter()
        .filter(|trial| selectors.iter().any(|chosen| chosen.selects(&trial.trial.arm, &trial.trial.factors)))
        .count();
    if let Some((outcome, measured)) = diverged::decide(results, claim) {
        let remedy = (outcome == Outcome::Fail)
            .then(|| "lower the arm's learning rate: a diverged seed passes no claim about it".to_owned());
        finding = Finding { outcome, measured, n: finding.n, remedy };
    }
    if finding.outcome == Outcome::Pass && missing > 0 {
        finding.outcome = Outcome::Inconclusive;
        finding.measured =
            format!("{}; {} did not finish", finding.measured, format::counted(missing, "trial"));
        finding.remedy = Some("finish the missing trials: they may be the ones that differ".to_owned());
    }
    Verdict {
        origin: Origin::Claim,
        id: claim.id.clone(),
        text: claim.text.clone(),
        outcome: finding.outcome,
        measured: finding.measured,
        n: finding.n,
        remedy: finding.remedy,
    }
}

fn decide_non_inferior(results: &Results, rule: &NonInferior) -> Finding {
    let (arms, references) = (chosen(results, &rule.arm), chosen(results, &rule.to));
    let pairs = arms.iter().flat_map(|arm| references.iter().map(move |reference| (arm, reference)));
    let findings = pairs.filter_map(|(arm, reference)| {
        let differences = paired(arm, reference, rule);
        let judgement = non_inferiority(&differences, rule.margin)?;
        let measured = format!(
            "{} is worse than {} by {} {}; margin {}",
            arm.label,
            reference.label,
            metric::format_difference(&rule.metric, judgement.mean),
            interval_text(judgement.interval, "90", |value| metric::format_difference(&rule.metric, value)),
            metric::format_difference(&rule.metric, rule.margin),
        );
        Some(from_judgement(judgement, measured))
    });
    worst(findings).unwrap_or_else(|| Finding::none("no seed has finished in both the arm and its reference"))
}

/// How much worse the arm is than the reference, for each seed that both have.
fn paired(arm: &Configuration<'_>, reference: &Configuration<'_>, rule: &NonInferior) -> Vec<f64> {
    let of_reference: BTreeMap<u64, f64> = by_seed(reference, &rule.metric);
    by_seed(arm, &rule.metric)
        .iter()
        .filter_map(|(seed, value)| {
            let lost = of_reference.get(seed)? - value;
            Some(if rule.larger_is_better { lost } else { -lost })
        })
        .collect()
}

fn by_seed(configuration: &Configuration<'_>, metric: &str) -> BTreeMap<u64, f64> {
    let values = configuration.runs.iter();
    values.filter_map(|run| Some((run.trial.seed, metric::number(&run.summary, metric)?))).collect()
}

fn decide_equal(results: &Results, rule: &Equal) -> Finding {
    let mut of_seed: BTreeMap<u64, Vec<(String, Value)>> = BTreeMap::new();
    for run in &results.runs {
        let selected = rule.arms.iter().any(|chosen| chosen.selects(&run.trial.arm, &run.trial.factors));
        if let Some(value) = run.summary.metric(&rule.metric).filter(|_| selected) {
            of_seed.entry(run.trial.seed).or_default().push((run.trial.label(), value));
        }
    }
    of_seed.retain(|_, values| values.len() > 1);
    let compared: BTreeSet<&String> = of_seed.values().flatten().map(|(label, _)| label).collect();
    let n = of_seed.len();
    if n == 0 {
        return Finding::none("no seed has finished in two of the configurations");
    }
    let odd = of_seed.iter().find_map(|(seed, values)| {
        let (first, rest) = values.split_first()?;
        let other = rest.iter().find(|(_, value)| *value != first.1)?;
        Some(format!(
            "seed {seed}: {} has {}, {} has {}",
            first.0,
            short(&rule.metric, &first.1),
            other.0,
            short(&rule.metric, &other.1)
        ))
    });
    match odd {
        Some(measured) => Finding {
            outcome: Outcome::Fail,
            measured,
            n,
            remedy: Some("compare the two trials' resolved.yaml and manifest.json".to_owned()),
        },
        None => Finding {
            outcome: Outcome::Pass,
            measured: format!("{} is equal in {} configurations, seed by seed", rule.metric, compared.len()),
            n,
            remedy: None,
        },
    }
}

fn short(metric: &str, value: &Value) -> String {
    let text = plain(value);
    if metric.ends_with("_hash") { format::short_hash(&text).to_owned() } else { text }
}

fn decide_bound(results: &Results, rule: &Bound) -> Finding {
    let findings = chosen(results, &rule.arm).into_iter().filter_map(|configuration| {
        let sample: Vec<f64> = by_seed(&configuration, &rule.metric).into_values().collect();
        let show = |value| metric::format(&rule.metric, value);
        let limits = match (rule.at_least, rule.at_most) {
            (Some(low), Some(high)) => format!("{} to {}", show(low), show(high)),
            (Some(low), None) => format!("at least {}", show(low)),
            (None, Some(high)) => format!("at most {}", show(high)),
            (None, None) => "no bound".to_owned(),
        };
        if metric::nature(&rule.metric) == Nature::Sampled {
            let judgement = within_bounds(&sample, rule.at_least, rule.at_most)?;
            let interval = interval_text(judgement.interval, "95", show);
            let measured = format!("{}: {} {interval}; {limits}", configuration.label, show(judgement.mean));
            return Some(from_judgement(judgement, measured));
        }
        let low = sample.iter().copied().min_by(f64::total_cmp)?;
        let high = sample.iter().copied().max_by(f64::total_cmp)?;
        let holds =
            rule.at_least.is_none_or(|least| low >= least) && rule.at_most.is_none_or(|most| high <= most);
        let range = if low < high { format!("{} to {}", show(low), show(high)) } else { show(low) };
        Some(Finding {
            outcome: if holds { Outcome::Pass } else { Outcome::Fail },
            measured: format!("{}: {range} (every trial); {limits}", configuration.label),
            n: sample.len(),
            remedy: None,
        })
    });
    worst(findings).unwrap_or_else(|| Finding::none("no trial that was chosen has finished"))
}

fn chosen<'a>(results: &'a Results, selector: &Selector) -> Vec<Configuration<'a>> {
    let mut configurations = results.configurations();
    configurations.retain(|configuration| {
        let trial = configuration.trial();
        selector.selects(&trial.arm, &trial.factors)
    });
    configurations
}

fn from_judgement(judgement: Judgement, measured: String) -> Finding {
    let remedy = match (judgement.decision, judgement.interval, judgement.further) {
        (Decision::Pass | Decision::Fail, ..) => None,
        (Decision::Inconclusive, None, _) => Some("run at least two seeds: one shows no spread".to_owned()),
        (Decision::Inconclusive, Some(_), Some(more)) => {
            Some(format!("about {} more, should mean and spread stay", format::counted(more, "seed")))
        }
        (Decision::Inconclusive, Some(_), None) => {
            Some("the mean is too near the limit for seeds to settle it".to_owned())
        }
    };
    Finding { outcome: judgement.decision.into(), measured, n: judgement.n, remedy }
}

pub(super) fn interval_text(
    interval: Option<Interval>,
    confidence: &str,
    show: impl Fn(f64) -> String,
) -> String {
    interval.map_or_else(
        || "(one seed, no interval)".to_owned(),
        |interval| format!("({confidence} % interval {} to {})", show(interval.low), show(interval.high)),
    )
}

/// The finding that decides when all must hold; of equals, the first.
fn worst(findings: impl Iterator<Item = Finding>) -> Option<Finding> {
    findings.reduce(|worst, next| if next.outcome > worst.outcome { next } else { worst })
}
