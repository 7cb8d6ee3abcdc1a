//! `undertone lab call --music`: what is heard has the upper octaves, directly and through the SFU; where the path is thin it
//! is a voice.

use serde_json::Value;
use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use undertone_io::files::{read_wav, write_wav};

/// Notes in and above a voice's band, and how loud each is.
const NOTES: [f64; 3] = [440.0, 5_000.0, 14_000.0];
const AMPLITUDE: f64 = 5_000.0;

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A second of the notes: whole periods, so that a loop has no seam.
fn song(folder: &Path, rate: u32) -> PathBuf {
    let at = |n: u32| NOTES.iter().map(|hz| (hz * TAU * f64::from(n) / f64::from(rate)).sin()).sum::<f64>();
    let samples: Vec<i16> = (0..rate).map(|n| (AMPLITUDE * at(n)) as i16).collect();
    let path = folder.join("song.wav");
    write_wav(&path, rate, &samples).expect("a file");
    path
}

/// Runs a call of music in a folder of this name; its JSON, and what b heard.
fn play(name: &str, rate: u32, extra: &[&str]) -> (Value, Vec<i16>) {
    let folder = folder(name);
    let song = song(&folder, rate);
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args(["lab", "call", "--json", "--speech", song.to_str().expect("a path")])
        .args(["--out", folder.to_str().expect("a path")])
        .args(extra)
        .output()
        .expect("undertone runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let heard = read_wav(folder.join("received.wav")).expect("what was heard");
    assert_eq!(heard.sample_rate, 48_000);
    (serde_json::from_slice(&output.stdout).expect("one line of JSON"), heard.samples)
}

/// The amplitude of one note in the last seconds (Goertzel, in pieces since playout may have moved).
fn note(pcm: &[i16], hz: f64) -> f64 {
    let pieces = pcm[pcm.len() - 2 * 48_000..].chunks_exact(960);
    let power: f64 = pieces
        .map(|pcm| {
            let (re, im) = pcm.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, &sample)| {
                let (sin, cos) = (TAU * hz * n as f64 / 48_000.0).sin_cos();
                (re + f64::from(sample) * cos, im + f64::from(sample) * sin)
            });
            4.0 * (re * re + im * im) / (960.0 * 960.0)
        })
        .sum();
    (power / 100.0).sqrt()
}

fn sending(name: &str) -> Vec<String> {
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).join("stats.ndjson");
    let log = fs::read_to_string(log).expect("the log");
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["direction"] == "a_to_b")
        .map(|line| line["sending"].as_str().expect("what is sent").to_string())
        .collect()
}

#[test]
fn music_arrives_whole_directly_and_through_the_sfu() {
    for (name, topology) in [("music-p2p", "p2p"), ("music-sfu", "sfu")] {
        let (result, heard) = play(name, 48_000, &["--music", "--secs", "8", "--topology", topology]);
        assert_eq!(result["concealed_ratio"], 0.0, "{result}");
        for hz in NOTES {
            let loud = note(&heard, hz);
            assert!((0.8..1.2).contains(&(loud / AMPLITUDE)), "{topology}, {hz} Hz: {loud}");
        }
        assert!(sending(name).iter().all(|sound| sound == "music"));
    }
}

#[test]
fn a_file_of_another_rate_is_resampled() {
    let (_, heard) = play("music-44100", 44_100, &["--music", "--secs", "6"]);
    for hz in NOTES {
        let loud = note(&heard, hz);
        assert!((0.8..1.2).contains(&(loud / AMPLITUDE)), "{hz} Hz: {loud}");
    }
}

#[test]
fn where_the_path_is_thin_a_voice_is_heard() {
    let (result, heard) = play("music-thin", 48_000, &["--music", "--secs", "12", "--rate", "30"]);
    assert!(sending("music-thin").last().is_some_and(|sound| sound == "speech"));
    let sent = result["wire_kbps"]["sent"].as_f64().expect("a rate");
    assert!(sent <= 31.0, "{result}");
    assert!(note(&heard, NOTES[0]) > 0.5 * AMPLITUDE && note(&heard, NOTES[2]) < 0.05 * AMPLITUDE);
}

#[test]
fn full_band_sends_a_voice_and_hears_at_48_khz() {
    let (result, heard) = play("full-band", 48_000, &["--full-band", "--secs", "8", "--loss", "10"]);
    assert!(sending("full-band").iter().all(|sound| sound == "speech"));
    assert!(result["recovered"]["rlc"].as_f64().expect("a share") > 0.05, "{result}");
    assert!(note(&heard, NOTES[0]) > 0.5 * AMPLITUDE && note(&heard, NOTES[2]) < 0.05 * AMPLITUDE);
}
