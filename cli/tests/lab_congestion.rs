//! `undertone lab congestion`: the contract of its JSON and files, and how full links are and how long their queues. The table
//! in `testdata/golden/lab_congestion.txt` shows a change of behaviour as a diff; rewrite it with `UPDATE_GOLDEN=1`.

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden/lab_congestion.txt");

fn lab(arguments: &[&str]) -> Output {
    let undertone = env!("CARGO_BIN_EXE_undertone");
    Command::new(undertone).args(["lab", "congestion"]).args(arguments).output().expect("undertone runs")
}

fn results(arguments: &[&str]) -> Vec<Value> {
    let output = lab(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("{field} in {value}"))
}

#[test]
fn the_table_is_as_before() {
    let mut table = String::from(
        "# case: utilisation, queue p50 p95 p99 ms, lost %, late pictures %, Jain, share beside TCP, second of 80 %\n",
    );
    for result in results(&[]) {
        let queue = &result["queue_ms"];
        let percent = |field| number(&result, field) * 100.0;
        let _ = writeln!(
            table,
            "{}: {:.2}, {:.0} {:.0} {:.0} ms, {:.1} %, {:.1} %, {:.2}, {:.2}, {}",
            result["case"].as_str().expect("a name"),
            number(&result, "utilisation"),
            number(queue, "p50"),
            number(queue, "p95"),
            number(queue, "p99"),
            percent("loss"),
            percent("late_ratio"),
            number(&result, "jain"),
            number(&result, "share"),
            result["ramp80_s"],
        );
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(GOLDEN, &table).expect("written");
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    assert_eq!(table, golden, "a change of behaviour: look at the diff, then UPDATE_GOLDEN=1");
}

#[test]
fn ours_fills_links_and_leaves_queues_short_where_the_baseline_does_not() {
    for case in ["5.1", "5.4"] {
        let ours = &results(&["--case", case])[0];
        assert!(number(ours, "utilisation") >= 0.9 && number(&ours["queue_ms"], "p95") <= 40.0, "{ours}");
        let plain = &results(&["--case", case, "--aimd"])[0];
        assert_eq!(plain["controller"], "aimd");
        assert!(number(&plain["queue_ms"], "p95") > number(&ours["queue_ms"], "p95"), "{plain}");
    }
}

#[test]
fn beside_tcp_there_is_something_left_for_both() {
    for case in ["5.6", "5.6:1000"] {
        let share = number(&results(&["--case", case])[0], "share");
        assert!((0.25..=0.75).contains(&share), "{case}: {share}");
    }
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lab-congestion");
    let page = |name: &str| {
        let out = dir.join(name);
        results(&["--case", "loss:10", "--seed", "7", "--out", out.to_str().expect("a path")]);
        fs::read_to_string(out.join("report.html")).expect("written")
    };
    let (one, two) = (page("one"), page("two"));
    assert_eq!(one, two);
    assert!(one.contains("What arrives") && one.contains("Queue"));
}

#[test]
fn a_recorded_link_is_a_case() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lab-congestion");
    fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("megabit.trace");
    // 1504 bytes every 12 ms: a megabit a second, for half a minute.
    let lines: String = (1..=2_500).map(|n| format!("{}\n", n * 12)).collect();
    fs::write(&path, lines).expect("written");
    let result = &results(&["--case", &format!("trace:{}", path.display())])[0];
    assert_eq!(result["case"], "trace:megabit.trace");
    assert!((0.85..=1.0).contains(&number(result, "utilisation")), "{result}");
}

#[test]
fn a_peer_is_asked_line_by_line() {
    // It wants 500 kbit/s, whatever it is told.
    let script = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("steady.sh");
    fs::write(&script, "while read -r line; do echo 500000 600000 0 0; done\n").expect("written");
    let result = &results(&["--case", "5.4", "--peer", &format!("sh {}", script.display())])[0];
    for flow in result["flows_kbps"].as_array().expect("flows") {
        assert!((495.0..=505.0).contains(&flow.as_f64().expect("a rate")), "{result}");
    }
    for wrong in ["/nowhere/at/all", "true"] {
        assert_eq!(lab(&["--case", "5.1", "--peer", wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn what_is_no_case_is_the_callers_fault() {
    for case in ["5.9", "loss:all", "steps:5", "trace:/nowhere"] {
        let output = lab(&["--case", case]);
        assert_eq!(output.status.code(), Some(2), "{case}");
        assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains(case));
    }
}
