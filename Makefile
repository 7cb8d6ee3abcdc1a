# Two commands are all there is to set up: `make call` and `make test`. Each installs what is missing.

CARGO ?= cargo
OUT ?= out/call
SPEECH := testdata/speech/librivox_austen_0870.wav testdata/speech/codec2_speech_orig_16k.wav \
          testdata/speech/librivox_austen_0890.wav

.PHONY: help call test lint browser-test fuzz bench bench-voice bench-onset bench-pictures bench-congestion bench-speech bench-adapt bench-python doc clean

help:
	@echo "make call    a real call of three on this machine, with a page to open afterwards"
	@echo "make test    every test, the browser's included"
	@echo "make lint    formatting and clippy, warnings denied"
	@echo "make bench   benchmarks; make bench-voice: the voice table of the README"
	@echo "make bench-onset    losses that begin and end in the midst of a call"
	@echo "make bench-pictures     pictures where packets get lost"
	@echo "make bench-congestion   docs/congestion.md again: congestion control beside GoogCC (a minute)"
	@echo "make bench-adapt    the tables that plans are weighed with (engine/src/adapt/quality.rs)"
	@echo "make bench-speech   docs/speech.md again: speech beside Opus, SILK, AMR-WB, NetEq, Chromium (about an hour)"
	@echo "make fuzz    a minute of fuzzing for each parser (needs a nightly toolchain)"

call:
	@scripts/setup build
	@$(CARGO) build --release -p undertone-cli
	@target/release/undertone demo --speech $(SPEECH) --out $(OUT)

test:
	@scripts/setup test
	$(CARGO) test --release --workspace
	$(MAKE) browser-test

# Headless Chromium publishes its fake microphone and camera and plays what we send.
browser-test:
	$(CARGO) build --release -p undertone-cli
	node --test web/test/*.test.mjs

lint:
	@scripts/setup build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

bench:
	@scripts/setup build
	$(CARGO) bench --workspace

fuzz:
	@scripts/setup build
	scripts/fuzz 60

# The scores come from Python packages, which are not needed for anything else.
bench-python:
	@scripts/setup build
	@$(CARGO) build --release -p undertone-cli
	@test -x target/venv/bin/python || python3 -m venv target/venv
	@target/venv/bin/pip install -q -r bench/requirements.txt

# The README's voice table.
bench-voice: bench-python
	@target/venv/bin/python bench/voice.py

# How soon losses in the midst of a call are coped with, and their end noticed.
bench-onset: bench-python
	@target/venv/bin/python bench/onset.py

# The README's rows about pictures.
bench-pictures: bench-python
	@target/venv/bin/python bench/pictures.py

# docs/congestion.md.
bench-congestion:
	@scripts/setup build
	@$(CARGO) build --release -p undertone-cli
	@bench/peers/setup googcc interceptor
	@python3 bench/congestion.py

# The tables that engine::adapt weighs plans with.
bench-adapt: bench-python
	@target/venv/bin/python bench/adapt.py

# docs/speech.md. SECTIONS="loss jitter" measures those alone; see bench/speech.py.
bench-speech:
	@scripts/setup test
	@$(CARGO) build --release -p undertone-cli
	@$(CARGO) build --release -p undertone-sim --example fates --example arrivals
	@$(CARGO) build --release -p undertone-io --example relay
	@$(CARGO) build --release -p undertone-codec --example roundtrip
	@bench/peers/setup
	@target/venv/bin/python bench/speech.py $(SECTIONS)

doc:
	$(CARGO) doc --workspace --no-deps

clean:
	$(CARGO) clean
	rm -rf out
