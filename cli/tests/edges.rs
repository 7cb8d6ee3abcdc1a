//! The map of ARCHITECTURE.md, held: which crate may import which.
//!
//! Siblings never import each other; every arrow ends at `media`. Tests may import what they like.

use std::collections::BTreeMap;
use std::process::Command;

/// Crate, and what it may import of ours.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("media", &[]),
    ("codec", &["media"]),
    ("old-decoder", &[]), // another libopus: it must never meet codec in one program
    ("transport", &["media"]),
    ("jitter", &["media"]),
    ("signaling", &["media"]),
    ("engine", &["media", "codec", "transport", "jitter", "signaling"]),
    ("sfu", &["media", "transport", "signaling"]),
    ("io", &["media"]),
    ("sim", &["media"]),
    ("cli", &["media", "codec", "transport", "jitter", "signaling", "engine", "sfu", "io", "sim"]),
    ("ffi", &["media", "signaling", "engine", "io"]),
];

/// What must not appear anywhere below these crates: they run without a device, a socket or a runtime.
const SANS_IO: [&str; 8] = ["media", "codec", "transport", "jitter", "signaling", "engine", "sfu", "sim"];
const WORLDLY: [&str; 6] = ["tokio", "socket2", "cpal", "axum", "mio", "async-std"];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Names of the packages that each of our crates is built with, dev-dependencies left out.
fn imports() -> BTreeMap<String, Vec<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_string();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let built_with = dependencies.iter().filter(|it| it["kind"].as_str() != Some("dev"));
            (name(package), built_with.map(name).collect())
        })
        .collect()
}

#[test]
fn every_arrow_is_on_the_map() {
    let imports = imports();
    assert_eq!(
        imports.len(),
        ALLOWED.len(),
        "a crate is missing from the map, or too many are on it: {imports:?}"
    );
    for (crate_name, allowed) in ALLOWED {
        let found = &imports[&format!("undertone-{crate_name}")];
        for import in found.iter().filter_map(|import| import.strip_prefix("undertone-")) {
            assert!(allowed.contains(&import), "{crate_name} must not import {import}");
        }
    }
}

#[test]
fn the_engine_and_the_sfu_know_no_operating_system() {
    let imports = imports();
    for crate_name in SANS_IO {
        for import in &imports[&format!("undertone-{crate_name}")] {
            assert!(!WORLDLY.contains(&import.as_str()), "{crate_name} must not import {import}");
        }
    }
}
