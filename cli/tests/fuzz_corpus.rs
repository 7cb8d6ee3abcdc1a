//! Nothing that the network brings makes anything panic.
//!
//! The bodies are those that cargo-fuzz runs (`scripts/fuzz`). Here they get the committed corpus, crashes of
//! the past among it, and then a second or so of mutations from a fixed seed, on stable and in every run.
//! `FUZZ_MILLIS=60000` makes that a minute for each target, `FUZZ_TARGET=rtcp` names a single one.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use fuzz::{TARGETS, Target};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to mutate for a target, and for one that is slow: a quarter of a minute for all.
const MILLIS: [u64; 2] = [400, 1_500];
/// No input is longer than a few datagrams' worth of steps.
const LONGEST: usize = 16 * 1024;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Inputs by name, in a fixed order.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let folder = root().join("fuzz/corpus").join(target.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let path = file.expect("a folder can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a file can be read"))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs a body; an input that makes it panic is named.
fn run(target: &Target, from: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.body)(input))) {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("something that is no text");
        let file = format!("fuzz/corpus/{}/", target.name);
        panic!(
            "{} panics on {from} with {said:?}; once it is mended, keep the input in {file}:\n\
             echo {} | xxd -r -p > {file}REGRESSION",
            target.name,
            hex(input)
        );
    }
}

/// xorshift64*: all that a mutator needs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }
}

/// Values at which lengths and counts break.
const EDGES: [u8; 10] = [0, 1, 2, 3, 4, 0x7f, 0x80, 0xbf, 0xfe, 0xff];

/// Changes an input in a few places as a network, a bug or an attacker would.
fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        let span = 1 + random.below(16);
        let end = (at + span).min(input.len());
        match random.below(10) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = EDGES[random.below(EDGES.len())];
                }
            }
            3 => {
                // A length or a number of 16 bits, in either order.
                if let Some(pair) = input.get_mut(at..at + 2) {
                    let edge = EDGES[random.below(EDGES.len())];
                    pair.copy_from_slice(&if random.below(2) == 0 { [0, edge] } else { [edge, 0xff] });
                }
            }
            4 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = byte.wrapping_add(random.below(9) as u8).wrapping_sub(4);
                }
            }
            5 => drop(input.drain(at..end)),
            6 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            7 => input.truncate(at.max(1)),
            8 => {
                let from = random.below(other.len());
                let piece = other[from..(from + span * 8).min(other.len())].to_vec();
                let end = if random.below(2) == 0 { at } else { (at + piece.len()).min(input.len()) };
                input.splice(at..end, piece);
            }
            _ => {
                for byte in &mut input[at..end] {
                    *byte = random.next() as u8;
                }
            }
        }
    }
    input.truncate(LONGEST);
}

fn targets() -> impl Iterator<Item = &'static Target> {
    let only = std::env::var("FUZZ_TARGET").ok();
    TARGETS.iter().filter(move |target| only.as_deref().is_none_or(|only| only == target.name))
}

#[test]
fn the_corpus_and_its_mutants_are_read_without_harm() {
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        update();
    }
    let wanted: Option<u64> = std::env::var("FUZZ_MILLIS").ok().and_then(|text| text.parse().ok());
    for target in targets() {
        let millis = wanted.unwrap_or(MILLIS[usize::from(target.slow)]);
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        for (name, input) in &corpus {
            run(target, name, input);
        }
        run(target, "nothing at all", &[]);
        let inputs: Vec<&Vec<u8>> = corpus.values().collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (begun, mut count) = (Instant::now(), 0u64);
        while begun.elapsed() < Duration::from_millis(millis) {
            let mut input = inputs[random.below(inputs.len())].clone();
            let other = inputs[random.below(inputs.len())];
            mutate(&mut random, &mut input, other);
            run(target, "a mutant", &input);
            count += 1;
        }
        println!("{:14} {:3} files, {count:7} mutants in {millis} ms", target.name, inputs.len());
    }
}

/// Writes the seeds anew. What is there beside them (crashes of the past, what cargo-fuzz found) stays.
fn update() {
    for (target, seeds) in fuzz::seeds::all(&root()) {
        let folder = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name), bytes).expect("a file can be written");
        }
    }
}

#[test]
fn every_target_is_known_to_cargo_fuzz() {
    let manifest =
        std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("the fuzz project's manifest");
    for target in &TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} is missing", target.name);
        let wrapper = root().join(format!("fuzz/fuzz_targets/{}.rs", target.name));
        let text = std::fs::read_to_string(&wrapper)
            .unwrap_or_else(|error| panic!("{}: {error}", wrapper.display()));
        assert!(text.contains(&format!("run(\"{}\"", target.name)));
    }
}

/// A check that cannot fail checks nothing.
#[test]
#[should_panic(expected = "keep the input in fuzz/corpus/bad/")]
fn a_panic_is_caught_and_its_input_named() {
    fn body(data: &[u8]) {
        assert!(data != [0xbe, 0xef], "found");
    }
    run(&Target { name: "bad", body, slow: false }, "a mutant", &[0xbe, 0xef]);
}
