#!/usr/bin/env python3
"""Pictures where packets get lost: the rows of the README.

    make bench-pictures

The test pattern beside speech, 20 s, six seeds; a row is their mean, and the share frozen is shown for each as well. Virtual
time: the same digits on every run of one machine.
"""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERTONE = ROOT / "target/release/undertone"
SPEECH = ROOT / "testdata/speech"
THIN = ["--rate", "500", "--queue", "300"]
WEAK = ["--rate", "600", "--delay", "30", "--jitter", "20", "--loss", "8"]
NETWORKS = [(f"500 kbit/s, loss {loss} %", [*THIN, "--loss", str(loss)]) for loss in (0, 5, 20, 40, 60)]
NETWORKS += [("600 kbit/s, loss 8 %, 30 ms, 20 ms jitter", WEAK), ("the same through the SFU", [*WEAK, "--topology", "sfu"])]
SEEDS = range(1, 7)


def run(options, seed):
    """Pictures a second, share frozen, 95 % of delays, unique media of what the link could carry."""
    command = [UNDERTONE, "lab", "call", "--json", "--video", "pattern", "--seed", str(seed), *options]
    command += ["--speech", SPEECH / "librivox_austen_0870.wav", "--speech-back", SPEECH / "codec2_speech_orig_16k.wav"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    video = result["a_to_b"]["video"]
    return video["fps"], 100 * video["freeze_ratio"], video["delay_ms"]["p95"], 100 * video["utilisation"]


def main():
    print("| link | a second | frozen | 95 % of delays | used | frozen, by seed |\n|---|---|---|---|---|---|")
    for name, options in NETWORKS:
        rows = [run(options, seed) for seed in SEEDS]
        fps, frozen, delay, used = (sum(column) / len(rows) for column in zip(*rows))
        each = " ".join(f"{abs(row[1]):.0f}" for row in rows)
        print(f"| {name} | {fps:.1f} | {abs(frozen):.1f} % | {delay:.0f} ms | {used:.0f} % | {each} |", flush=True)


if __name__ == "__main__":
    main()
