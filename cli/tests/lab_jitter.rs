//! `undertone lab jitter`: the contract of its JSON and files, and what a listener gets.

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SPEECH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/speech/librivox_austen_0880.wav");

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lab-jitter").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Writes a trace of packets whose delays in ms a function of their number says; negative: lost.
fn trace(dir: &Path, packets: u64, delay: impl Fn(u64) -> f64) -> PathBuf {
    let mut text = String::from("seq,send_ms,arrival_ms\n");
    for seq in 0..packets {
        let (send, delay) = (seq * 20, delay(seq));
        let arrival = if delay < 0.0 { -1.0 } else { send as f64 + delay };
        let _ = writeln!(text, "{seq},{send},{arrival}");
    }
    let path = dir.join("arrivals.csv");
    fs::write(&path, text).expect("written");
    path
}

fn lab(arrivals: &Path, extra: &[&str]) -> Output {
    let undertone = env!("CARGO_BIN_EXE_undertone");
    let arguments = ["lab", "jitter", "--speech", SPEECH, "--json", "--arrivals"];
    Command::new(undertone).args(arguments).arg(arrivals).args(extra).output().expect("undertone runs")
}

fn result(arrivals: &Path, extra: &[&str]) -> Value {
    let output = lab(arrivals, extra);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("{field} in {value}"))
}

#[test]
fn a_clean_path_is_mouth_to_ear_itself() {
    let dir = folder("clean");
    let result = result(&trace(&dir, 1500, |_| 40.0), &[]);
    assert_eq!(result["schema"], "undertone.lab.jitter/1");
    for field in ["m2e_mean_ms", "m2e_p50", "m2e_p95", "m2e_p99"] {
        assert!((number(&result, field) - 40.0).abs() < 1.0, "{field}: {result}");
    }
    // The second after the end: the last packet is sent 20 ms before it and arrives 20 ms after it.
    assert!((number(&result, "conceal_ratio") - 0.94 / 30.94).abs() < 0.001, "{result}");
    assert_eq!((number(&result, "accel_ratio"), number(&result, "preempt_ratio")), (0.0, 0.0));
    assert!((number(&result, "emos_mean") - 4.27).abs() < 0.02, "{result}");
    assert_eq!(number(&result, "emos_mean"), number(&result, "emos_p10"));
}

#[test]
fn what_is_lost_is_made_up_and_costs() {
    let dir = folder("lossy");
    let result = result(&trace(&dir, 1500, |seq| if seq % 20 == 7 { -1.0 } else { 40.0 }), &[]);
    assert!((number(&result, "net_loss") - 0.05).abs() < 1e-9);
    assert!((number(&result, "conceal_ratio") - 0.05 - 0.03).abs() < 0.01, "{result}");
    assert!((3.0..3.7).contains(&number(&result, "emos_mean")), "{result}");
}

#[test]
fn the_same_arrivals_write_the_same_bytes() {
    let dir = folder("bytes");
    let arrivals = trace(&dir, 600, |seq| 40.0 + (seq * 7919 % 61) as f64);
    for run in ["one", "two"] {
        result(&arrivals, &["--out", dir.join(run).to_str().expect("a path")]);
    }
    for file in ["sent.wav", "played.wav", "report.html"] {
        let read = |run: &str| fs::read(dir.join(run).join(file)).expect("written");
        assert_eq!(read("one"), read("two"), "{file}");
    }
    let page = fs::read_to_string(dir.join("one/report.html")).expect("written");
    for shown in ["slowest arrival", "target", "mouth to ear", "played.wav"] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains(dir.join("one").to_str().expect("a path")), "the report names no folder of ours");
}

#[test]
fn what_is_no_trace_is_the_callers_fault() {
    let dir = folder("bad");
    let path = dir.join("arrivals.csv");
    for text in ["", "1,2\n", "1,0,5\n1,20,25\n", "0,0,-1\n", "1,0,5\n999999999999,20,30\n"] {
        fs::write(&path, text).expect("written");
        let output = lab(&path, &[]);
        assert_eq!(output.status.code(), Some(2), "{text:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("arrivals.csv"), "{text:?}");
    }
    assert_eq!(lab(&dir.join("none.csv"), &[]).status.code(), Some(2));
}
