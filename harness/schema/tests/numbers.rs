//! No number of a scenario is lost: each is read as it was written, or refused.

use std::path::Path;

use serde_json::Value;
use spillbench_schema::{Bytes, Document, Study, json_schema};

const GOOD: &str = include_str!("comm_interval.yaml");

const WRITTEN: [&str; 15] = [
    "0",
    "1",
    "-1",
    "4294967296",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "1e400",
    ".nan",
    ".inf",
    "1e3",
    "64.0",
    "0.5",
];

/// The dotted keys of a configuration that take numbers, with their limits.
fn numeric_keys(root: &Value, schema: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = root.pointer(target.trim_start_matches('#')).expect("a definition");
        return numeric_keys(root, target, path, found);
    }
    let types = schema["type"].to_string();
    if types.contains("integer") || types.contains("number") {
        let mut limits = Vec::new();
        for limit in ["minimum", "maximum"].iter().filter_map(|end| schema[end].as_i64()) {
            limits.extend([limit - 1, limit, limit + 1].map(|number| number.to_string()));
        }
        found.push((path.to_owned(), limits));
    }
    for (key, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        numeric_keys(root, member, &path, found);
    }
    if schema["items"].is_object() {
        numeric_keys(root, &schema["items"], &format!("{path}.0"), found);
    }
    for branches in ["oneOf", "anyOf"] {
        for branch in schema[branches].as_array().into_iter().flatten() {
            numeric_keys(root, branch, path, found);
        }
    }
}

fn expand(sets: &[String]) -> Option<Study> {
    Document::from_text(Path::new("s.yaml"), GOOD, sets).and_then(|document| Study::expand(&document)).ok()
}

/// Whether a resolved value is the number that was written.
fn is_written(resolved: &Value, written: &str) -> bool {
    let as_integer = || resolved.as_u64().map(|number| number.to_string()) == Some(written.to_owned());
    as_integer()
        || written.parse::<f64>().is_ok_and(|number| resolved.is_f64() && resolved.as_f64() == Some(number))
}

#[test]
fn each_number_is_read_as_it_was_written_or_refused() {
    let schema = json_schema();
    let mut keys = Vec::new();
    numeric_keys(&schema, &schema["$defs"]["Config"], "", &mut keys);
    let mut accepted = 0;
    for (key, limits) in &keys {
        for written in WRITTEN.iter().map(|number| (*number).to_owned()).chain(limits.iter().cloned()) {
            let mut sets = vec![format!("{key}={written}")];
            if key == "train.steps" {
                sets.push("train.epochs=null".to_owned());
            }
            let Some(study) = expand(&sets) else { continue };
            accepted += 1;
            let pointer = format!("/{}", key.replace('.', "/"));
            for trial in &study.trials {
                let config = serde_json::to_value(&trial.config).expect("JSON");
                let resolved = config.pointer(&pointer).unwrap_or(&Value::Null);
                assert!(is_written(resolved, &written), "{key}={written} became {resolved}");
            }
        }
    }
    assert!(keys.len() > 20, "{keys:?}");
    assert!(accepted > 60, "{accepted} of {} keys' numbers are accepted", keys.len());
}

#[test]
fn numbers_beyond_64_bits_are_refused_with_the_range_that_is_allowed() {
    for (set, message) in [
        ("data.train=18446744073709551616", "is 18446744073709551616, but must be from 1 to 4294967296"),
        ("matrix.seeds=[18446744073709551616]", "must be from 0 to 18446744073709551615"),
        ("network.input=[0]", "must be from 1 to 16777216"),
        ("network.layers.0.linear.repeat=10001", "must be from 1 to 10000"),
        ("network.input=[16777216, 2]", "multiply to more than 16777216"),
        ("network.panel=0", "hold no weight"),
    ] {
        let document = Document::from_text(Path::new("s.yaml"), GOOD, &[set.to_owned()]);
        let problems = document.and_then(|document| Study::expand(&document)).expect_err(set);
        let text = problems.to_string();
        assert!(text.contains(message), "{set}: {text}");
    }
}

#[test]
fn sizes_in_text_are_exact_and_never_wrap() {
    for text in ["18446744073709551615", "16777216TiB", "1e30", "99999999TiB"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
    assert_eq!("9007199254740993".parse(), Ok(Bytes(9_007_199_254_740_993)));
}

#[test]
fn a_whole_number_beyond_64_bits_is_the_nearest_float_where_a_float_is_wanted() {
    let sets =
        ["train.optimizer={adam: {learning_rate: 0.1, weight_decay: 100000000000000000000}}".to_owned()];
    let study = expand(&sets).expect("it is read");
    let optimizer = serde_json::to_value(&study.trials[0].config.train.optimizer).expect("plain data");
    assert_eq!(optimizer["adam"]["weight_decay"].as_f64(), Some(1e20));
}
