//! A run that finds corruption says which generations are concerned, and the next one goes on from the newest that is
//! sound.

mod support;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

use serde_json::{Value, json};
use spillbench_engine::{EngineError, EventLog, open_plan};
use spillbench_schedule::ExtentKind;
use spillbench_schema::{Event, Rates, Summary, Trial};
use spillbench_storage::{Standing, StorageError};
use support::{in_memory, run, spilled};

/// A moment of a run.
#[derive(Clone, Copy, PartialEq)]
enum Moment {
    /// So many steps are logged.
    Step(u64),
    /// Everything of the generation of this number is written, and it is about to be committed.
    Commit(u64),
}

use Moment::{Commit, Step};

/// An event log that spoils the store's file: every block that changed between two moments, at a third.
struct Spoiler {
    extents: std::path::PathBuf,
    changed: Range<Moment>,
    at: Moment,
    /// Spoils only what this part of the slots' bytes holds.
    within: Option<Extents>,
    /// Ends the run when it has spoiled.
    ends: bool,
    line: Vec<u8>,
    events: Vec<Event>,
    commits: u64,
    before: Vec<u8>,
    after: Vec<u8>,
    spoiled: usize,
}

/// Where some extents lie in their slots.
struct Extents {
    /// Of all extents in one slot.
    slot_bytes: u64,
    places: Vec<Range<u64>>,
}

impl Extents {
    fn of_kind(trial: &Trial, kind: ExtentKind) -> Self {
        let plan = open_plan(trial, &Rates::default()).expect("a plan");
        let (mut slot_bytes, mut places) = (0, Vec::new());
        for extent in plan.extents.iter() {
            let end = slot_bytes + plan.extents.payload(extent).next_multiple_of(4096);
            if extent.kind == kind {
                places.push(slot_bytes..end);
            }
            slot_bytes = end;
        }
        Self { slot_bytes, places }
    }

    fn hold(&self, offset: u64) -> bool {
        self.places.iter().any(|place| place.contains(&(offset % self.slot_bytes)))
    }
}

impl Spoiler {
    fn new(dir: &Path, changed: Range<Moment>, at: Moment) -> Self {
        Self {
            extents: dir.join("state/extents"),
            changed,
            at,
            within: None,
            ends: false,
            line: Vec::new(),
            events: Vec::new(),
            commits: 0,
            before: Vec::new(),
            after: Vec::new(),
            spoiled: 0,
        }
    }

    /// One that spoils nothing.
    fn none(dir: &Path) -> Self {
        let never = Step(u64::MAX);
        Self::new(dir, never..never, never)
    }

    fn at(&mut self, moment: Moment) -> io::Result<()> {
        if moment == self.changed.start {
            self.before = fs::read(&self.extents)?;
        }
        if moment == self.changed.end {
            self.after = fs::read(&self.extents)?;
        }
        if moment != self.at {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(&self.extents)?;
        for (block, (before, after)) in self.before.chunks(4096).zip(self.after.chunks(4096)).enumerate() {
            let offset = 4096 * block as u64;
            if before != after && self.within.as_ref().is_none_or(|extents| extents.hold(offset)) {
                file.write_all_at(&[after[0] ^ 4], offset)?;
                self.spoiled += 1;
            }
        }
        file.sync_all()?;
        if self.ends { Err(io::Error::other("cut off")) } else { Ok(()) }
    }
}

impl Write for Spoiler {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let event = serde_json::from_slice(&line)?;
            if let Event::Step { step, .. } = event {
                self.at(Step(step))?;
            }
            self.events.push(event);
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
        self.commits += 1;
        self.at(Commit(self.commits))
    }
}

fn single(spare: u64, generations: &Value) -> Trial {
    spilled(&json!({ "single": {} }), 1, spare, generations)
}

/// Trains until something corrupt is read; returns what it is to the generations and the step, if one is told, from
/// which the next run goes on, after finding these words in the error.
fn corrupted(trial: &Trial, dir: &Path, log: &mut Spoiler, words: &[&str]) -> (Standing, Option<u64>) {
    let error = run(trial, &Rates::default(), dir, None, log).expect_err("it reads what was spoiled");
    let message = error.to_string();
    for words in words {
        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
    match error {
        EngineError::Corrupt { cause: StorageError::Corrupt { standing, .. }, step } => {
            (standing, Some(step))
        }
        EngineError::Storage(StorageError::Corrupt { standing, .. }) => (standing, None),
        error => panic!("{error}"),
    }
}

fn go_on(trial: &Trial, dir: &Path) -> Summary {
    run(trial, &Rates::default(), dir, None, &mut io::sink()).expect("it goes on")
}

/// The last generation is committed after the fourth step; the fifth and sixth are what it does not hold.
#[test]
fn what_was_spoiled_since_the_last_generation_is_told_so_and_the_next_run_ends_with_the_right_weights() {
    let trial = single(0, &json!({ "every": 4 }));
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = Spoiler::new(dir.path(), Step(5)..Step(6), Step(6));
    let words = ["state/extents is corrupt: layer ", "run again to go on from there (after step 4)"];
    assert_eq!(corrupted(&trial, dir.path(), &mut log, &words), (Standing::Since, Some(4)));
    assert!(log.spoiled > 0);
    let summary = go_on(&trial, dir.path());
    assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
}

#[test]
fn a_generation_that_is_spoiled_is_given_up_for_the_one_before_and_the_next_run_ends_with_the_right_weights()
{
    for spare in [0, 24] {
        let trial = single(spare, &json!({ "every": 2, "keep": 2 }));
        let dir = tempfile::tempdir().expect("a folder");
        // The second generation, after the fourth step.
        let mut log = Spoiler::new(dir.path(), Commit(1)..Commit(2), Commit(2));
        let words = [
            "state/extents is corrupt: layer ",
            "it was part of the newest generation, which is given up: check the disk, then run again to go on from the \
             one before (after step 2)",
        ];
        let given_up = Standing::GivenUp { generations: 1 };
        assert_eq!(corrupted(&trial, dir.path(), &mut log, &words), (given_up, Some(2)));
        let summary = go_on(&trial, dir.path());
        assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
        assert_eq!(summary.bytes_read + summary.bytes_written, summary.io_planned_bytes);
    }
}

#[test]
fn a_generation_that_is_spoiled_while_nobody_runs_is_found_and_given_up_before_a_step_is_done() {
    let trial = single(24, &json!({ "every": 2, "keep": 2 }));
    let plan = open_plan(&trial, &Rates::default()).expect("a plan");
    assert!(plan.memory.pinned > 0, "something is read before the first step");
    let dir = tempfile::tempdir().expect("a folder");
    let mut log = Spoiler::new(dir.path(), Commit(2)..Commit(3), Step(7));
    log.ends = true;
    let cut_off = run(&trial, &Rates::default(), dir.path(), None, &mut log).expect_err("its log ends");
    assert!(matches!(cut_off, EngineError::Log(_)), "{cut_off}");
    let mut log = Spoiler::none(dir.path());
    let words = ["state/extents is corrupt: layer ", "(after step 4)"];
    let given_up = Standing::GivenUp { generations: 1 };
    assert_eq!(corrupted(&trial, dir.path(), &mut log, &words), (given_up, Some(4)));
    assert!(log.events.is_empty(), "{:?}", log.events);
    let summary = go_on(&trial, dir.path());
    assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
}

/// Snapshots are written at the fifth step, so the generations after it share them with the one after the sixth.
#[test]
fn generations_that_share_what_is_spoiled_are_given_up_together_and_none_where_all_share_it() {
    let strategy = json!({ "layerwise": { "exchange": "weights", "interval": 4, "ranks": 2 } });
    for (keep, standing, step) in
        [(3, Standing::GivenUp { generations: 2 }, Some(4)), (2, Standing::AllHold, None)]
    {
        let trial = spilled(&strategy, 1, 0, &json!({ "every": 1, "keep": keep }));
        let dir = tempfile::tempdir().expect("a folder");
        let mut log = Spoiler::new(dir.path(), Commit(4)..Commit(5), Commit(6));
        log.within = Some(Extents::of_kind(&trial, ExtentKind::Snapshot));
        let remedy = match standing {
            Standing::AllHold => "it is part of every generation that is kept",
            _ => "the newest 2 generations, which are given up",
        };
        let words = [remedy, "state/extents is corrupt: layer ", " snapshot at offset "];
        assert_eq!(corrupted(&trial, dir.path(), &mut log, &words), (standing, step));
        if standing == Standing::AllHold {
            let mut log = Spoiler::none(dir.path());
            let again = corrupted(&trial, dir.path(), &mut log, &words);
            assert_eq!(again, (standing, step), "nothing was given up");
        } else {
            assert_eq!(go_on(&trial, dir.path()).weights_hash, in_memory(&trial));
        }
    }
}

#[test]
fn a_record_that_is_spoiled_while_nobody_runs_is_given_up_for_the_one_before_and_alone_it_stays() {
    for (keep, standing, step, remedy) in [
        (2, Standing::GivenUp { generations: 1 }, Some(4), "the one before (after step 4)"),
        (1, Standing::AllHold, None, "`spillbench run --fresh`"),
    ] {
        let trial = single(24, &json!({ "every": 2, "keep": keep }));
        let dir = tempfile::tempdir().expect("a folder");
        let mut log = Spoiler::new(dir.path(), Step(7)..Step(7), Step(7));
        log.ends = true;
        run(&trial, &Rates::default(), dir.path(), None, &mut log).expect_err("its log ends");
        let record = dir.path().join("state/generation.3");
        let mut bytes = fs::read(&record).expect("the record of the third generation");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&record, bytes).expect("spoiled");
        let mut log = Spoiler::none(dir.path());
        let words = ["state/generation.3 is corrupt: the record of the generation at ", remedy];
        assert_eq!(corrupted(&trial, dir.path(), &mut log, &words), (standing, step));
        assert_eq!(record.exists(), keep == 1);
        if keep == 2 {
            let summary = go_on(&trial, dir.path());
            assert_eq!((summary.weights_hash, summary.resumed), (in_memory(&trial), 1));
        }
    }
}
