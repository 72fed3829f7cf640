use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::*;
use crate::mnist::tests::{SmallSet, gzip};

/// What a mirror says to a request for a file.
#[derive(Clone)]
enum Answer {
    Body(Vec<u8>),
    /// The connection closes after the first bytes of a body announced as longer by so many.
    CutOff(Vec<u8>, usize),
}

/// A mirror on this machine; it answers 404 to what it does not have.
struct Mirror {
    address: SocketAddr,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Mirror {
    fn start(answers: HashMap<String, Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || serve(&listener, &answers));
        Self { address, thread: Some(thread) }
    }

    fn with(small: &SmallSet, answer: impl Fn(usize, Vec<u8>) -> Option<Answer>) -> Self {
        let names = small.set().files().map(|file| format!("/mnist/{}.gz", file.name));
        let answers = names
            .into_iter()
            .enumerate()
            .filter_map(|(i, name)| Some((name, answer(i, gzip(&small.contents[i]))?)))
            .collect();
        Self::start(answers)
    }

    fn url(&self) -> String {
        format!("http://{}/mnist/", self.address)
    }

    /// Stops it and returns the paths it was asked for.
    fn stop(mut self) -> Vec<String> {
        TcpStream::connect(self.address).unwrap().write_all(b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn serve(listener: &TcpListener, answers: &HashMap<String, Answer>) -> Vec<String> {
    let mut asked = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(request) = lines.take_while(|line| !line.is_empty()).reduce(|first, _| first) else {
            continue;
        };
        let path = request.split(' ').nth(1).unwrap().to_owned();
        if path == "/stop" {
            break;
        }
        let (status, body, missing): (_, &[u8], _) = match answers.get(&path) {
            Some(Answer::Body(body)) => ("200 OK", body, 0),
            Some(Answer::CutOff(body, missing)) => ("200 OK", body, *missing),
            None => ("404 Not Found", &[], 0),
        };
        let length = body.len() + missing;
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        asked.push(path);
    }
    asked
}

fn direct() -> Agent {
    Agent::config_builder().proxy(None).build().into()
}

fn fetch_small(
    small: &SmallSet,
    into: &Path,
    mirrors: &[&str],
) -> (Result<Vec<PathBuf>, DataError>, Vec<String>) {
    let mut stages = Vec::new();
    let result = fetch_set(&small.set(), into, mirrors, &direct(), &mut |progress| match progress.stage {
        FetchStage::Receiving { .. } => {}
        FetchStage::MirrorFailed { .. } => stages.push(format!("{} failed", progress.file)),
        stage => stages.push(format!("{} {stage:?}", progress.file)),
    });
    (result, stages)
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn files_are_fetched_checked_and_put_in_their_places() {
    let small = SmallSet::new();
    let mirror = Mirror::with(&small, |_, body| Some(Answer::Body(body)));
    let dir = TempDir::new().unwrap();
    let into = dir.path().join("data/mnist");
    let paths = fetch_small(&small, &into, &[&mirror.url()]).0.unwrap();
    assert_eq!(mirror.stop().len(), 4);
    for ((path, file), contents) in paths.iter().zip(small.set().files()).zip(&small.contents) {
        assert_eq!(path, &into.join(format!("{}.gz", file.name)));
        assert_eq!(fs::read(path).unwrap(), gzip(contents));
    }
    assert_eq!(entries(&into), 4, "nothing temporary is left");
}

#[test]
fn progress_ends_with_all_bytes_received() {
    let small = SmallSet::new();
    let mirror = Mirror::with(&small, |_, body| Some(Answer::Body(body)));
    let dir = TempDir::new().unwrap();
    let mut last = HashMap::new();
    fetch_set(&small.set(), dir.path(), &[&mirror.url()], &direct(), &mut |progress| {
        if let FetchStage::Receiving { bytes, of } = progress.stage {
            last.insert(progress.file.to_owned(), (bytes, of));
        }
    })
    .unwrap();
    mirror.stop();
    for (file, contents) in small.set().files().iter().zip(&small.contents) {
        let length = gzip(contents).len() as u64;
        assert_eq!(last[&format!("{}.gz", file.name)], (length, Some(length)));
    }
}

#[test]
fn good_files_are_kept_and_bad_ones_fetched_again() {
    let small = SmallSet::new();
    let mirror = Mirror::with(&small, |_, body| Some(Answer::Body(body)));
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("train-images.idx3-ubyte"), &small.contents[0]).unwrap();
    fs::write(dir.path().join("train-labels-idx1-ubyte.gz"), "not gzip").unwrap();
    fs::write(dir.path().join("t10k-images.idx3-ubyte"), "another file").unwrap();
    let (paths, stages) = fetch_small(&small, dir.path(), &[&mirror.url()]);
    assert_eq!(mirror.stop().len(), 3);
    assert_eq!(paths.unwrap()[0], dir.path().join("train-images.idx3-ubyte"));
    assert_eq!(stages[0], "train-images-idx3-ubyte.gz Kept");
    let (_, stages) = fetch_small(&small, dir.path(), &[]);
    assert!(stages.iter().all(|stage| stage.ends_with("Kept")), "{stages:?}");
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let small = SmallSet::new();
    let bad = Mirror::with(&small, |i, body| match i {
        0 => None,
        1 => Some(Answer::CutOff(body, 5)),
        2 => Some(Answer::Body(gzip(b"another file"))),
        _ => Some(Answer::Body(body[..body.len() / 2].to_vec())),
    });
    let good = Mirror::with(&small, |_, body| Some(Answer::Body(body)));
    let dir = TempDir::new().unwrap();
    let (paths, stages) = fetch_small(&small, dir.path(), &[&bad.url(), &good.url()]);
    assert_eq!(paths.unwrap().len(), 4);
    assert_eq!(stages.iter().filter(|stage| stage.ends_with("failed")).count(), 4);
    assert_eq!((bad.stop().len(), good.stop().len()), (4, 4));
    assert_eq!(entries(dir.path()), 4, "nothing temporary is left");
}

#[test]
fn the_error_lists_the_cause_of_each_mirror() {
    let check = |answer: fn(Vec<u8>) -> Option<Answer>, expected: &str| {
        let small = SmallSet::new();
        let [bad, empty] = [Mirror::with(&small, |_, body| answer(body)), Mirror::start(HashMap::new())];
        let dir = TempDir::new().unwrap();
        let error = fetch_small(&small, dir.path(), &[&bad.url(), &empty.url()]).0.unwrap_err();
        let message = error.to_string();
        let DataError::Fetch { failures, .. } = error else { panic!("{message}") };
        assert!(failures[0].cause.contains(expected), "{}", failures[0].cause);
        assert!(failures[1].cause.contains("404"), "{}", failures[1].cause);
        for url in [bad.url(), empty.url(), dir.path().display().to_string()] {
            assert!(message.contains(&url), "{message}");
        }
        bad.stop();
        empty.stop();
        assert_eq!(entries(dir.path()), 0, "nothing temporary is left");
    };
    check(|_| None, "404");
    check(|body| Some(Answer::CutOff(body, 5)), "after ");
    check(|_| Some(Answer::Body(gzip(b"another file"))), "another file: expected SHA-256 ");
    check(|body| Some(Answer::Body(body[..body.len() / 2].to_vec())), "found a truncated one");
}

#[test]
fn a_generated_set_has_nothing_to_fetch() {
    let dir = TempDir::new().unwrap();
    let error = fetch(DataSource::Digits, dir.path(), MNIST_MIRRORS, &mut |_| {}).unwrap_err();
    assert!(matches!(error, DataError::NothingToFetch { set: DataSource::Digits }));
}

#[test]
fn without_a_mirror_the_error_says_so() {
    let dir = TempDir::new().unwrap();
    let error = fetch_small(&SmallSet::new(), dir.path(), &[]).0.unwrap_err();
    assert!(error.to_string().contains("no mirror is named"), "{error}");
}

#[test]
fn an_https_mirror_is_spoken_to_in_tls() {
    const HANDSHAKE_RECORD: u8 = 0x16;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/mnist", listener.local_addr().unwrap());
    let first_byte = std::thread::spawn(move || {
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        byte[0]
    });
    let dir = TempDir::new().unwrap();
    let small = SmallSet::new();
    let set = small.set();
    let error = fetch_file(&set.train.labels, dir.path(), &[&url], &direct(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, DataError::Fetch { .. }), "{error}");
    assert_eq!(first_byte.join().unwrap(), HANDSHAKE_RECORD);
}
