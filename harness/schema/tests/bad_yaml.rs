//! Text that is hardly YAML is refused in words, soon, and in little memory.

use std::path::Path;

use spillbench_schema::{Document, Study};

/// A scenario that is valid up to its `name`, which `value` completes.
fn scenario(value: &str) -> String {
    format!(
        "schema_version: 1\nquestion: Does it work?\ndata: {{ source: synthetic, train: 64, test: 64 }}\nnetwork:\n  \
         input: [16]\n  layers: [ {{ linear: {{ units: 10 }} }} ]\ntrain:\n  optimizer: {{ sgd: {{ learning_rate: \
         0.1 }} }}\n  batch_size: 32\n  steps: 4\nname: {value}\n"
    )
}

/// What comes of `text`: the name of the study, or its problems.
fn outcome(text: &str) -> Result<String, String> {
    let document = Document::from_text(Path::new("s.yaml"), text, &[]);
    let study = document.and_then(|document| Study::expand(&document));
    study.map(|study| study.name).map_err(|problems| problems.to_string())
}

fn bomb(levels: usize) -> String {
    let mut text = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..levels {
        let below = vec![format!("*x{}", level - 1); 10].join(", ");
        text += &format!("x{level}: &x{level} [{below}]\n");
    }
    text
}

/// Texts at which parsers of YAML differ, or fail.
#[expect(clippy::too_many_lines, reason = "a table, a line a text")]
fn corpus() -> Vec<String> {
    let plain = |value: &str| scenario(value);
    let after = |more: &str| scenario("n") + more;
    vec![
        String::new(),
        " ".into(),
        "\t".into(),
        "\n\n".into(),
        "~".into(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "text".into(),
        "42".into(),
        "---".into(),
        "...".into(),
        "--- \n...\n---\n".into(),
        "%YAML 1.2\n---\n".to_owned() + &plain("n"),
        "%YAML 1.1\n---\n".to_owned() + &plain("n"),
        "%YAML 9.9\n---\n".to_owned() + &plain("n"),
        "%TAG ! tag:x,2020:\n---\n".to_owned() + &plain("n"),
        "%FOO bar\n---\n".to_owned() + &plain("n"),
        after("---\na: 1\n"),
        after("...\n"),
        after("...\ntrailing\n"),
        plain("&a n"),
        plain("*a"),
        plain("&a *a"),
        plain("&a"),
        plain("& n"),
        plain("* n"),
        plain("&a &b n"),
        plain("!!str n"),
        plain("!x n"),
        plain("!<tag:x> n"),
        plain("!!python/object:os.system n"),
        plain("!!binary aGk="),
        plain("! n"),
        after("name: m\n"),
        after("\"name\": m\n"),
        after("<<: { seeds: 1 }\n"),
        after("? [a, b]\n: 1\n"),
        after("? a\n"),
        after("1: 2\n"),
        after("~: 2\n"),
        after("true: 2\n"),
        after("\ttrain: 1\n"),
        after("  train: 1\n"),
        after("matrix:\n\tseeds: 1\n"),
        after("matrix: {seeds: 1"),
        after("matrix: {seeds: 1]\n"),
        after("matrix: [1,,2]\n"),
        after("matrix: }\n"),
        after("- a\n"),
        after(": 1\n"),
        after("matrix: a: b\n"),
        after("matrix: @a\n"),
        after("matrix: `a`\n"),
        after("matrix: %a\n"),
        after("# comment only"),
        plain("\"n"),
        plain("'n"),
        plain("\"\\q\""),
        plain("\"\\x0\""),
        plain("\"\\ud800\""),
        plain("\"\\U00110000\""),
        plain("\"\\u0000\""),
        plain("'it''s'"),
        plain("|\n  n\n"),
        plain(">-\n  n\n"),
        plain("|9\n  n\n"),
        plain("|x\n  n\n"),
        plain("0o17"),
        plain("017"),
        plain("0x1F"),
        plain("1:30:00"),
        plain("yes"),
        plain("No"),
        plain("on"),
        plain("y"),
        plain("TRUE"),
        plain("Null"),
        plain("~"),
        plain(""),
        plain(".nan"),
        plain(".inf"),
        plain("1e3"),
        plain("1_000"),
        plain("+1"),
        plain("0b11"),
        plain("18446744073709551616"),
        plain("340282366920938463463374607431768211456"),
        plain("2001-12-14"),
        plain("="),
        plain("<<"),
        plain("n\u{85}m: 1"),
        plain("n\u{2028}m: 1"),
        plain("\u{7}"),
        plain("n\u{fffe}"),
        plain("n #no comment"),
        plain("n#x"),
        after(&format!("references: {}", "[".repeat(100_000))),
        after(&format!("references: {}", "{a: ".repeat(100_000))),
        after(&"- ".repeat(100_000)),
        after(&format!("references: {}1", "- ".repeat(50_000))),
        after(&format!("references: {}{}", "[".repeat(100), "]".repeat(100))),
        after(&format!("references: {}{}", "[".repeat(200), "]".repeat(200))),
        after(&format!("references: {}", "!a ".repeat(10_000))),
        after(&format!("references: {}", "? ".repeat(10_000))),
        plain(&"n".repeat(1_000_000)),
        after(&bomb(9)),
        after(&bomb(4)),
        after(&format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(20_000), "*a,".repeat(20_000))),
        after("a: &a [*a]\n"),
        after("a: &a { b: *a }\n"),
        after("a: &a 1\na: &a 2\nb: *a\n"),
    ]
}

/// The answers, a line each, kept beside this file: what a change of the parser changes is seen in them.
const ANSWERS: &str = include_str!("bad_yaml.txt");

#[test]
fn bad_yaml_is_answered_with_a_place_and_in_words() {
    let mut expected = ANSWERS.lines();
    for text in corpus() {
        let end = text.char_indices().rev().nth(23).map_or(0, |(at, _)| at);
        let answer = match outcome(&text) {
            Ok(name) => format!("is read as {}", name.chars().take(20).collect::<String>()),
            Err(problems) => {
                let told = problems.lines().filter(|line| line.starts_with("s.yaml:")).collect::<Vec<_>>();
                told.join(" / ").chars().take(160).collect()
            }
        };
        let line = format!("{:?} {}", &text[end..], answer);
        assert_eq!(expected.next(), Some(line.trim_end()), "{line}");
    }
}
