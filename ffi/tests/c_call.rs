//! Calls made by a C program, through a running server, over real sockets. No sound card is asked for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

const KEY: &str = "a secret of this test alone, long enough";
const HZ: f64 = 440.0;

/// The folder that holds the library and the binary, and the compiled C programs.
struct Built {
    release: PathBuf,
    call: PathBuf,
}

static BUILT: LazyLock<Built> = LazyLock::new(build);

/// Builds what `cargo test` does not: the shared library and the server; and then the C programs.
fn build() -> Built {
    // target/PROFILE/deps/c_call-HASH
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let status = Command::new(env!("CARGO"))
        .args("build --quiet --release -p undertone-ffi -p undertone-cli --target-dir".split(' '))
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "the library and the server build");
    let release = target.join("release");
    let call = compile("tests/call.c", &release);
    compile("examples/tone.c", &release);
    Built { release, call }
}

/// Compiles a C program against header and shared library, with every warning an error.
fn compile(source: &str, release: &Path) -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(Path::new(source).file_stem().unwrap());
    let output = Command::new(std::env::var_os("CC").as_deref().unwrap_or(OsStr::new("cc")))
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g", "-I"])
        .arg(crate_dir.join("include"))
        .arg(crate_dir.join(source))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(release)
        .args(["-lundertone", "-lm"])
        .arg(format!("-Wl,-rpath,{}", release.display()))
        .output()
        .expect("a C compiler: install gcc or clang, or set CC");
    assert!(output.status.success(), "{source}:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// `undertone serve`, until dropped.
struct Server {
    process: Child,
    http: String,
}

impl Server {
    fn start(key: Option<&str>) -> Server {
        Server::start_with(key.into_iter().flat_map(|key| ["--key", key]))
    }

    fn start_with<'a>(options: impl IntoIterator<Item = &'a str>) -> Server {
        let mut command = Command::new(BUILT.release.join("undertone"));
        command.args(["serve", "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--json"]);
        command.env_remove("UNDERTONE_KEY");
        command.args(options);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        Server { process, http: format!("http://{}", told["http"].as_str().unwrap()) }
    }

    fn room(&self, name: &str) -> String {
        format!("{}/{name}", self.http)
    }

    /// A link with a token, as an operator hands it out.
    fn invite(&self, room: &str, name: &str) -> String {
        let output = Command::new(BUILT.release.join("undertone"))
            .args(["token", "--url", &self.http, "--room", room, "--name", name, "--key", KEY])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(args: &[&str]) -> Child {
    Command::new(&BUILT.call).args(args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// The `name value` lines of a program that has kept every promise; the last of each name.
fn finish(child: Child) -> BTreeMap<String, String> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}\n{text}", output.status);
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn number(results: &BTreeMap<String, String>, name: &str) -> f64 {
    results
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {results:?}"))
}

#[test]
fn one_talks_and_the_other_hears_it() {
    let server = Server::start(Some(KEY));
    let hz = HZ.to_string();
    let listener = spawn(&["listen", &server.invite("tea", "listener"), "7", &hz]);
    std::thread::sleep(Duration::from_millis(500));
    let talker = spawn(&["talk", &server.invite("tea", "talker"), "5", &hz]);
    let (talker, listener) = (finish(talker), finish(listener));

    for who in [&talker, &listener] {
        assert!(number(who, "connected") < 2_000.0, "{who:?}");
        assert_eq!(number(who, "people"), 2.0, "both are in the roster: {who:?}");
        assert_eq!(number(who, "left"), 1.0, "leaving is told as an event: {who:?}");
    }
    assert_eq!(listener["slot"], talker["joined"], "the slot names who is heard");
    // Four seconds of tone, half of which a busy machine may spoil.
    assert!(number(&listener, "tones") > 20.0, "what is heard is the tone: {listener:?}");
    assert!((number(&listener, "hz") - HZ).abs() < 5.0, "of its frequency: {listener:?}");
    // A sine of amplitude 8000 has 5657 RMS.
    assert!((4_000.0..7_500.0).contains(&number(&listener, "rms")), "and its loudness: {listener:?}");
    assert!(number(&listener, "played") > 2_000.0, "{listener:?}");
    assert!(number(&listener, "concealed") < 1_000.0, "{listener:?}");
    assert_eq!(number(&listener, "muted"), 1.0, "the talker's mute is told: {listener:?}");
    assert_eq!(number(&talker, "tones"), 0.0, "nobody hears himself: {talker:?}");
}

#[test]
fn music_is_heard_above_all_voices_and_a_voice_at_48_khz_too() {
    let server = Server::start(None);
    for (mode, hz) in [("play", 12_000.0), ("talk", HZ)] {
        let hz_text = hz.to_string();
        let hearer = spawn(&["hear", &server.room(mode), "5", &hz_text]);
        std::thread::sleep(Duration::from_millis(300));
        let sender = spawn(&[mode, &server.room(mode), "4", &hz_text]);
        let (_, hearer) = (finish(sender), finish(hearer));
        // Three seconds of tone, half of which a busy machine may spoil.
        assert!(number(&hearer, "tones") > 15.0, "{mode}: {hearer:?}");
        assert!((number(&hearer, "hz") - hz).abs() < 0.012 * hz, "{mode}: {hearer:?}");
        assert!((4_000.0..7_500.0).contains(&number(&hearer, "rms")), "{mode}: {hearer:?}");
    }
}

#[test]
fn a_wrong_token_and_a_missing_one_are_refused() {
    let server = Server::start(Some(KEY));
    let forged = format!("{}?token=eyJhbGciOiJIUzI1NiJ9.e30.AAAA", server.room("tea"));
    let other_room = server.invite("tea", "x").replace("/tea?", "/coffee?");
    for link in [forged, server.room("tea"), other_room] {
        let results = finish(spawn(&["try", &link]));
        assert_eq!(results["code"], "6", "UT_REFUSED: {results:?}");
        assert!(results["text"].contains("refused"), "{results:?}");
    }
}

#[test]
fn nobody_there_is_unreachable() {
    // Bound and dropped: nothing listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let results = finish(spawn(&["try", &format!("http://127.0.0.1:{port}/tea")]));
    assert_eq!(results["code"], "7", "UT_UNREACHABLE: {results:?}");
    assert!(results["text"].contains("nothing listens there"), "{results:?}");
}

#[test]
fn a_server_without_tls_is_no_https() {
    let server = Server::start(None);
    let results = finish(spawn(&["try", &server.room("tea").replace("http:", "https:")]));
    assert_eq!(results["code"], "8", "UT_TLS: {results:?}");
}

#[test]
fn a_certificate_of_its_own_is_trusted_when_it_is_given() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (certificate, key) = (folder.join("own.pem"), folder.join("own.key.pem"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start_with(["--tls-cert", certificate, "--tls-key", key]);
    let link = server.room("tea").replace("http:", "https:");
    let results = finish(spawn(&["try", &link]));
    assert_eq!(results["code"], "8", "UT_TLS: {results:?}");
    let results = finish(spawn(&["try", &link, certificate]));
    assert_eq!(results["code"], "0", "it connects: {results:?}");
}

#[test]
fn pictures_of_one_call_reach_another_in_the_same_process() {
    let server = Server::start(None);
    let results = finish(spawn(&["show", &server.room("tea")]));
    assert!(number(&results, "pictures") >= 25.0, "{results:?}");
    assert!((number(&results, "luma") - 190.0).abs() < 8.0, "{results:?}");
    assert_eq!(results["by"], results["sender"], "{results:?}");
}

#[test]
fn a_call_may_be_freed_in_any_state() {
    let server = Server::start(None);
    let results = finish(spawn(&["abandon", &server.room("tea")]));
    assert!(number(&results, "slowest") < 1_700.0, "freeing never hangs: {results:?}");
    // A server that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let results = finish(spawn(&["abandon", &format!("http://{}/tea", silent.local_addr().unwrap())]));
    assert!(number(&results, "slowest") < 100.0, "what has not begun is not waited for: {results:?}");
}

#[test]
fn misuse_is_answered_with_a_code() {
    finish(spawn(&["misuse"]));
}
