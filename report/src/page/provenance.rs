//! Where a report's numbers come from.

use std::collections::BTreeSet;

use spillbench_schema::{Bytes, summary::Manifest};

use crate::{
    results::Results,
    table::{Heading, NOTHING, Table},
};

/// Machine, versions and seeds. Where trials differ in one of them, every value is listed.
pub fn table(results: &Results) -> Table {
    let manifests: Vec<&Manifest> = results.runs.iter().filter_map(|run| run.manifest.as_ref()).collect();
    let of_all = |value: &dyn Fn(&Manifest) -> String| -> String {
        let values: BTreeSet<String> = manifests.iter().map(|manifest| value(manifest)).collect();
        if values.is_empty() { NOTHING.to_owned() } else { values.into_iter().collect::<Vec<_>>().join("; ") }
    };
    let seeds: BTreeSet<u64> = results.study.trials.iter().map(|trial| trial.seed).collect();
    let rows = [
        (
            "processor",
            of_all(&|manifest| format!("{}, {} cores", manifest.machine.cpu, manifest.machine.cores)),
        ),
        ("vector extensions", of_all(&|manifest| manifest.machine.cpu_features.join(" "))),
        ("memory", of_all(&|manifest| Bytes(manifest.machine.memory_bytes).to_string())),
        ("kernel", of_all(&|manifest| manifest.machine.kernel.clone())),
        ("storage used", of_all(&storage)),
        ("spillbench", of_all(&|manifest| manifest.version.clone())),
        (
            "git revision",
            of_all(&|manifest| {
                manifest.git_revision.clone().unwrap_or_else(|| "outside a checkout".to_owned())
            }),
        ),
        ("seeds", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    ];
    Table {
        columns: vec![Heading::words("what"), Heading::words("value")],
        rows: rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect(),
        notes: Vec::new(),
    }
}

fn storage(manifest: &Manifest) -> String {
    if manifest.storage_used.starts_with(&manifest.storage_requested) {
        manifest.storage_used.clone()
    } else {
        format!("{} (asked for: {})", manifest.storage_used, manifest.storage_requested)
    }
}
