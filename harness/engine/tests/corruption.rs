//! A run that finds corruption says whether its last generation is concerned, and goes on from there if it is not.

mod support;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use serde_json::json;
use spillbench_engine::{EngineError, EventLog};
use spillbench_schema::{Event, Rates};
use spillbench_storage::{Standing, StorageError};
use support::{in_memory, run, spilled};

/// The generation is committed after the fourth step; the fifth and sixth are what it does not hold.
const EVERY: u64 = 4;

/// An event log that spoils the store's file after the sixth step: every block that changed since the fifth.
struct Spoiler {
    extents: PathBuf,
    line: Vec<u8>,
    before: Vec<u8>,
    spoiled: usize,
}

impl Spoiler {
    fn logged(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Step { step, .. } if *step == EVERY + 1 => self.before = fs::read(&self.extents)?,
            Event::Step { step, .. } if *step == EVERY + 2 => {
                let file = OpenOptions::new().write(true).open(&self.extents)?;
                let now = fs::read(&self.extents)?;
                for (block, (before, now)) in self.before.chunks(4096).zip(now.chunks(4096)).enumerate() {
                    if before != now {
                        file.write_all_at(&[now[0] ^ 4], 4096 * block as u64)?;
                        self.spoiled += 1;
                    }
                }
                file.sync_all()?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Write for Spoiler {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.logged(&serde_json::from_slice(&line)?)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl EventLog for Spoiler {
    fn cut(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_spoiled_since_the_last_generation_is_told_so_and_the_next_run_ends_with_the_right_weights() {
    let trial = spilled(&json!({ "single": {} }), 1, 0, &json!({ "every": EVERY }));
    let dir = tempfile::tempdir().expect("a folder");
    let extents = dir.path().join("state/extents");
    let mut log = Spoiler { extents, line: Vec::new(), before: Vec::new(), spoiled: 0 };
    let error =
        run(&trial, &Rates::default(), dir.path(), None, &mut log).expect_err("it reads what it wrote");
    assert!(log.spoiled > 0);
    let message = error.to_string();
    for words in [
        "state/extents is corrupt: layer ",
        "run again to go on from there",
        "(last generation: after step 4)",
    ] {
        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
    let EngineError::Corrupt { cause: StorageError::Corrupt { standing, .. }, step } = error else {
        panic!("{error}")
    };
    assert_eq!((standing, step), (Standing::Since, EVERY));
    let summary = run(&trial, &Rates::default(), dir.path(), None, &mut io::sink()).expect("it goes on");
    assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
}
