//! The header that C sees is the one that the source makes.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).unwrap();
    // In the order in which a reader wants them.
    let sources = ["result", "options", "event", "stats", "picture", "call"];
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in sources {
        builder = builder.with_src(crate_dir.join(format!("src/{source}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let path = crate_dir.join("include/undertone.h");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let header = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(header == generated, "{} is stale: run with UPDATE_GOLDEN=1 and commit it", path.display());
}

#[test]
fn no_function_is_missing() {
    let header =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/undertone.h")).unwrap();
    let exported = include_str!("../src/call.rs").lines().chain(include_str!("../src/result.rs").lines());
    let names: Vec<_> = exported
        .filter_map(|line| line.split("extern \"C\" fn ").nth(1))
        .filter_map(|rest| rest.split('(').next())
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        assert!(header.contains(&format!("{name}(")), "{name} is exported but not in the header");
    }
}
