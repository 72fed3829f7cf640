//! `spillbench check`: claims, invariants, and a comparison with a baseline.

use serde_json::json;
use spillbench_report::{Baseline, Outcome, Results, Verdict};

use crate::{
    arguments::CheckArguments,
    colour,
    exit::{Exit, Failure},
    report::{committed_baseline, nothing_run},
};

pub fn check(arguments: &CheckArguments) -> Result<Exit, Failure> {
    let study = arguments.study.load()?;
    let folder = arguments.study.folder(&study);
    if !folder.exists() {
        return Ok(nothing_run(&arguments.study));
    }
    let results = Results::load(&folder, study)?;
    if let Some(path) = &arguments.save_baseline {
        Baseline::of(&results).save(path)?;
        eprintln!("baseline saved in {}", path.display());
    }
    let baseline = match &arguments.baseline {
        Some(path) => Some(Baseline::load(path)?),
        None => committed_baseline(&folder)?,
    };
    let verdicts = spillbench_report::check(&results, baseline.as_ref());
    for verdict in &verdicts {
        if arguments.json {
            println!("{}", to_json(verdict));
        } else {
            print(verdict);
        }
    }
    Ok(exit(&verdicts))
}

fn exit(verdicts: &[Verdict]) -> Exit {
    let any = |outcome| verdicts.iter().any(|verdict| verdict.outcome == outcome);
    if any(Outcome::Fail) {
        Exit::CheckFailed
    } else if any(Outcome::Inconclusive) {
        Exit::Inconclusive
    } else if any(Outcome::Pass) && !any(Outcome::NoData) {
        Exit::Fine
    } else {
        Exit::Nothing
    }
}

fn print(verdict: &Verdict) {
    let word = format!("{:<12}", verdict.outcome);
    let word = match verdict.outcome {
        Outcome::Pass => colour::good(&word),
        Outcome::Fail => colour::error(&word),
        Outcome::Inconclusive | Outcome::NoData => colour::open(&word),
    };
    println!("{word} {}: {}", verdict.id, verdict.text);
    println!("             {}", verdict.measured);
    if let Some(remedy) = &verdict.remedy {
        println!("             {remedy}");
    }
}

fn to_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "reason": "verdict",
        "version": 1,
        "id": verdict.id,
        "text": verdict.text,
        "outcome": verdict.outcome.to_string(),
        "measured": verdict.measured,
        "n": verdict.n,
        "remedy": verdict.remedy,
    })
}
