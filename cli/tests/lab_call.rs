//! `undertone lab call`: the contract of its JSON and files, and that a seed replays a run.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const SPEECH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/speech/librivox_austen_0880.wav");

fn lab(extra: &[&str]) -> Output {
    let undertone = env!("CARGO_BIN_EXE_undertone");
    let arguments = ["lab", "call", "--speech", SPEECH, "--json"];
    Command::new(undertone).args(arguments).args(extra).output().expect("undertone runs")
}

fn result(extra: &[&str]) -> Value {
    let output = lab(extra);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn a_clean_call_is_early_whole_and_cheap() {
    let result = result(&["--secs", "10"]);
    assert_eq!(result["schema"], "undertone.lab.call/1");
    assert!(number(&result, "/m2e_ms/p95") <= 55.0, "{result}");
    assert_eq!(number(&result, "/concealed_ratio"), 0.0, "{result}");
    assert!(number(&result, "/wire_kbps/sent") <= 52.0, "{result}");
    assert!(number(&result, "/setup_ms") <= 100.0, "{result}");
    assert!(number(&result, "/gap_ms") <= 40.0, "{result}");
    for direction in ["/a_to_b", "/b_to_a"] {
        for field in ["m2e_ms/p50", "m2e_ms/p95", "concealed_ratio", "recovered/plc", "recovered/rtx"] {
            number(&result, &format!("{direction}/{field}"));
        }
        for field in ["wire_kbps/received", "payload_kbps", "packet_ms", "gap_ms", "recovered/lbrr"] {
            number(&result, &format!("{direction}/{field}"));
        }
    }
}

#[test]
fn the_sfu_adds_no_delay_of_its_own() {
    let direct = result(&["--secs", "8", "--delay", "20"]);
    let relayed = result(&["--secs", "8", "--delay", "10", "--topology", "sfu"]);
    let added = number(&relayed, "/m2e_ms/p95") - number(&direct, "/m2e_ms/p95");
    assert!(added.abs() <= 5.0, "{added} ms: {relayed}");
}

#[test]
fn keys_are_there_after_two_round_trips_at_most() {
    let result = result(&["--secs", "4", "--delay", "50", "--topology", "sfu"]);
    assert!(number(&result, "/setup_ms") <= 210.0, "{result}");
}

#[test]
fn loss_is_repaired() {
    let result = result(&["--secs", "20", "--loss", "10"]);
    assert!(number(&result, "/concealed_ratio") <= 0.01, "{result}");
    // By packets that carry those before them, and so within the patience of the plan.
    assert!(number(&result, "/recovered/rlc") >= 0.06, "{result}");
    assert!(number(&result, "/m2e_ms/p95") <= 150.0, "{result}");
    assert!(number(&result, "/wire_kbps/sent") <= 100.0, "{result}");
}

#[test]
fn a_seed_replays_every_byte() {
    let network = ["--secs", "5", "--loss", "5", "--jitter", "30", "--rate", "400", "--video", "pattern"];
    for topology in ["p2p", "sfu"] {
        let runs = ["once", "again"].map(|name| {
            let folder = folder(&format!("{topology}-{name}"));
            let out = folder.to_str().expect("a path").to_string();
            let output = lab(&[&network[..], &["--topology", topology, "--out", &out]].concat());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            (folder, output.stdout)
        });
        assert_eq!(runs[0].1, runs[1].1, "{topology}: the JSON");
        let files = ["sent.wav", "received.wav", "sent-back.wav", "received-back.wav", "received.y4m"];
        for file in files.into_iter().chain(["wire.pcapng", "stats.ndjson", "report.html"]) {
            let [a, b] = [&runs[0].0, &runs[1].0].map(|folder| fs::read(folder.join(file)).expect(file));
            assert!(!a.is_empty(), "{topology}: {file} is empty");
            assert!(a == b, "{topology}: {file} differs");
        }
    }
}

#[test]
fn another_seed_is_another_run() {
    let losses = |seed| result(&["--secs", "6", "--loss", "10", "--seed", seed])["wire_kbps"].clone();
    assert_ne!(losses("1"), losses("2"));
}

#[test]
fn a_change_in_mid_call_is_felt() {
    let calm = result(&["--secs", "8"]);
    let rough = result(&["--secs", "8", "--at", "4:loss=40"]);
    assert!(number(&rough, "/recovered/rtx") > number(&calm, "/recovered/rtx"), "{rough}");
}

#[test]
fn pictures_arrive_with_their_account() {
    let result = result(&["--secs", "8", "--video", "pattern", "--rate", "1500"]);
    assert!(number(&result, "/video/fps") >= 25.0, "{result}");
    assert!(number(&result, "/video/psnr_db") >= 28.0, "{result}");
    assert!(number(&result, "/video/utilisation") > 0.1, "{result}");
}

#[test]
fn where_a_path_becomes_thin_pictures_begin_anew() {
    let result = result(&["--secs", "14", "--video", "pattern", "--steps", "2000@0,400@8"]);
    assert!(number(&result, "/video/freeze_ratio") <= 0.08, "{result}");
    assert!(number(&result, "/video/delay_ms/p95") <= 250.0, "{result}");
}

#[test]
fn a_quality_gate_has_its_own_exit_code() {
    let output = lab(&["--secs", "6", "--loss", "60", "--min-mos", "4.2"]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--min-mos"), "{said}");
}

#[test]
fn what_is_wrong_with_the_command_line_is_named() {
    for (arguments, word) in [
        (&["--loss", "many"][..], "--loss"),
        (&["--outage", "900"], "GOODMS/BADMS"),
        (&["--steps", "400"], "KBPS@SECS"),
        (&["--trace", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["--video", "/nowhere.y4m"], "/nowhere.y4m"),
    ] {
        let output = lab(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
