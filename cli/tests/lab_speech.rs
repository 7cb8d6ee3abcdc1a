//! `undertone lab speech`: the plan for each named network, and what comes of it.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use undertone_sim::models::{Direction, MODELS};

const SPEECH: &str = "testdata/speech/librivox_austen_0880.wav";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_undertone"))
        .current_dir(root())
        .args(["lab", "speech", "--speech", SPEECH, "--json"])
        .args(args)
        .output()
        .expect("undertone runs")
}

fn result(args: &[&str]) -> Value {
    let output = lab(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

/// A plan in a line, without the reason's place.
fn short(plan: &Value) -> String {
    let mut line = format!("{:>3} ms {:>4.1} kbit/s", plan["packet_ms"], number(plan, "/kbps"));
    if let Some(code) = plan.get("code") {
        let _ = write!(line, ", code {}/{}", code["window"], code["permille"]);
    }
    if let Some(deep) = plan.get("redundancy") {
        let _ = write!(line, ", deep {} ms q{}", deep["span_ms"], deep["quantiser"]);
    }
    line
}

/// The losses of a named network's link, on a wire of so many kbit/s.
fn losses(link: &Direction, outage: Option<(u32, u32)>) -> Vec<String> {
    match outage {
        Some((good, bad)) => vec!["--outage".into(), format!("{good}/{bad}")],
        None => vec![
            "--loss".into(),
            format!("{}", f64::from(link.loss_permille) / 10.0),
            "--burst".into(),
            link.burst.to_string(),
        ],
    }
}

#[test]
fn the_plans_are_as_before() {
    let mut table = String::from("# network and wire kbit/s: packet, coded rate, protection; why\n");
    for model in MODELS {
        for kbps in ["16", "40"] {
            let outage = model.outage.map(|outage| (outage.good_ms, outage.bad_ms));
            let losses = losses(&model.up, outage);
            let mut args: Vec<&str> = losses.iter().map(String::as_str).collect();
            args.extend(["--wire-kbps", kbps, "--lookahead-ms", "300"]);
            let plan = &result(&args)["plan"];
            let why = plan["reason"].as_str().unwrap_or_default();
            let _ = writeln!(table, "{:<14} {kbps}: {}; {why}", model.name, short(plan));
        }
    }
    for (kbps, loss, lookahead) in [
        ("11", "0", "300"),
        ("24", "0", "300"),
        ("24", "30", "300"),
        ("24", "50", "480"),
        ("24", "80", "480"),
        ("40", "30", "300"),
        ("40", "50", "480"),
        ("40", "80", "480"),
    ] {
        let plan = &result(&["--wire-kbps", kbps, "--loss", loss, "--lookahead-ms", lookahead])["plan"];
        let why = plan["reason"].as_str().unwrap_or_default();
        let _ = writeln!(table, "loss {loss:<3} {lookahead} ms {kbps}: {}; {why}", short(plan));
    }
    let golden = root().join("testdata/golden/lab_speech.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &table).expect("the table can be written");
    }
    let before = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(table, before, "behaviour changed; if for the better, run again with UPDATE_GOLDEN=1");
}

#[test]
fn the_wire_carries_no_more_than_was_said() {
    for (kbps, loss) in [(11.0, "0"), (24.0, "30"), (40.0, "50")] {
        let result = result(&["--wire-kbps", &kbps.to_string(), "--loss", loss]);
        assert!(number(&result, "/wire_kbps") <= 1.08 * kbps, "{result}");
    }
}

#[test]
fn nothing_lost_is_nothing_made_up() {
    let result = result(&["--wire-kbps", "24"]);
    assert_eq!(number(&result, "/concealed_ratio"), 0.0, "{result}");
    assert!(number(&result, "/wire_kbps") >= 15.0, "{result}");
}

#[test]
fn protection_brings_back_what_a_plan_without_it_does_not() {
    let network = ["--wire-kbps", "40", "--loss", "30"];
    let bare = [&network[..], &["--plan", r#"{"packet_ms":60,"kbps":12}"#]].concat();
    let (planned, bare) = (result(&network), result(&bare));
    let lost = number(&bare, "/lost_ratio");
    assert!(number(&bare, "/concealed_ratio") > 0.8 * lost, "{bare}");
    assert!(number(&planned, "/concealed_ratio") < 0.3 * lost, "{planned}");
    let back = number(&planned, "/recovered/rlc") + number(&planned, "/recovered/dred");
    assert!(back > 0.6 * lost, "{planned}");
}

#[test]
fn a_seed_replays_every_byte() {
    let folder = std::env::temp_dir().join(format!("undertone-lab-speech-{}", std::process::id()));
    let run = |name: &str| {
        let out = folder.join(name);
        let out = out.to_str().expect("a path");
        assert!(lab(&["--wire-kbps", "24", "--loss", "30", "--out", out]).status.success());
        ["sent.wav", "received.wav", "report.html"]
            .map(|file| std::fs::read(Path::new(out).join(file)).unwrap())
    };
    assert!(run("once") == run("again"), "the same seed writes the same bytes");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn nonsense_is_named() {
    for args in [
        &["--wire-kbps", "0"][..],
        &["--wire-kbps", "24", "--plan", "fast"],
        &["--wire-kbps", "24", "--loss", "many"],
        &["--wire-kbps", "24", "--outage", "900"],
    ] {
        let output = lab(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}
