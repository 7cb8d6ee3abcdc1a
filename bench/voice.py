#!/usr/bin/env python3
"""The voice table of the README: runs `undertone lab call` and scores what was heard with PESQ-WB (ITU-T P.862.2).

    make bench-voice

For each network: every clip pair and seed below, both directions; a row is the mean (delay: the mean of the 95th
percentiles). Virtual time: the same digits on every run of one machine.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import score

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERTONE = ROOT / "target/release/undertone"
SPEECH = ROOT / "testdata/speech"
PAIRS = [
    ("librivox_austen_0870.wav", "codec2_speech_orig_16k.wav"),
    ("librivox_austen_0890.wav", "librivox_austen_0920.wav"),
]
NETWORKS = [
    ("clean", []),
    ("clean, through the SFU, 10 ms per leg", ["--topology", "sfu", "--delay", "10"]),
    ("loss 5 %", ["--loss", "5"]),
    ("loss 10 %", ["--loss", "10"]),
    ("loss 20 %", ["--loss", "20"]),
    ("loss 30 %", ["--loss", "30"]),
    ("loss 50 %", ["--loss", "50"]),
    ("loss 70 %", ["--loss", "70"]),
    ("outages 900/100 ms", ["--outage", "900/100"]),
    ("outages 800/200 ms", ["--outage", "800/200"]),
    ("loss 10 % per leg, through the SFU", ["--topology", "sfu", "--delay", "10", "--loss", "10"]),
    ("jitter 0–50 ms", ["--jitter", "50"]),
    ("jitter 0–100 ms", ["--jitter", "100"]),
    ("jitter 0–200 ms", ["--jitter", "200"]),
    ("24 kbit/s, RTT 300 ms, queue 500 ms", ["--rate", "24", "--delay", "150", "--queue", "500"]),
    ("16 kbit/s, RTT 300 ms, queue 500 ms", ["--rate", "16", "--delay", "150", "--queue", "500"]),
    ("24 kbit/s, loss 10 %", ["--rate", "24", "--loss", "10"]),
]
SECS = 20


def run(pair, options, seed):
    with tempfile.TemporaryDirectory() as out:
        command = [UNDERTONE, "lab", "call", "--json", "--secs", str(SECS), "--seed", str(seed), "--out", out]
        command += ["--speech", SPEECH / pair[0], "--speech-back", SPEECH / pair[1], *options]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        out = pathlib.Path(out)
        for direction, sent, received in [
            ("a_to_b", "sent.wav", "received.wav"),
            ("b_to_a", "sent-back.wav", "received-back.wav"),
        ]:
            figures = result[direction]
            yield (
                score.pesq_wb(*score.align(score.read(out / sent), score.read(out / received))[:2]),
                figures["m2e_ms"]["p95"],
                100 * figures["concealed_ratio"],
                figures["wire_kbps"]["sent"],
            )


def main():
    seeds = range(1, 1 + int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    print("| link | PESQ | mouth to ear, 95 % | made up | sent |")
    print("|---|---|---|---|---|")
    for name, options in NETWORKS:
        rows = [row for pair in PAIRS for seed in seeds for row in run(pair, options, seed)]
        quality, delay, made_up, sent = np.mean(rows, axis=0)
        worst = min(row[0] for row in rows)
        print(f"| {name} | {quality:.2f} (least {worst:.2f}) | {delay:.0f} ms | {made_up:.2f} % | {sent:.0f} kbit/s |", flush=True)


if __name__ == "__main__":
    main()
