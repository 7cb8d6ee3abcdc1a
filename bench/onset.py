#!/usr/bin/env python3
"""How soon a call copes when losses begin in its midst, and how soon it pays for nothing any more when they end.

    make bench-onset

Runs `undertone lab call`, of whose packets two in five get lost from one moment to another, for every clip pair and three
seeds, both directions. Printed is the mean over them for each half second: ESTOI of the second that begins then, and what
was sent in that half second. Virtual time: the same digits on every run of one machine.
"""

import json
import multiprocessing
import pathlib
import subprocess
import tempfile
import warnings

import numpy as np

import score
from voice import PAIRS, SPEECH, UNDERTONE

BEGIN_S, END_S, SECS = 6, 13, 20
STEP_S = 0.5
FROM_S, UNTIL_S = 4, 18
SEEDS = (1, 2, 3)
# What ESTOI says of a second in which nobody speaks.
NO_SPEECH = 1e-4
# Playout is late by less than this.
LATE_S = 1
UNDERSTOOD = 0.85
# More than before by so much is overhead.
OVERHEAD = 1.1


def run(job):
    """(ESTOI, kbit/s) for each step and direction."""
    pair, seed = job
    with tempfile.TemporaryDirectory() as out:
        command = [UNDERTONE, "lab", "call", "--secs", str(SECS), "--seed", str(seed), "--out", out]
        command += ["--speech", SPEECH / pair[0], "--speech-back", SPEECH / pair[1]]
        command += ["--at", f"{BEGIN_S}:loss=40", "--at", f"{END_S}:loss=0"]
        subprocess.run(command, check=True, capture_output=True)
        out = pathlib.Path(out)
        rows = [json.loads(line) for line in (out / "stats.ndjson").read_text().splitlines()]
        return [
            curve(out / f"sent{suffix}.wav", out / f"received{suffix}.wav", [row for row in rows if row["direction"] == name])
            for name, suffix in [("a_to_b", ""), ("b_to_a", "-back")]
        ]


def curve(sent, heard, rows):
    # Of seconds in which nobody speaks.
    warnings.filterwarnings("ignore", "Not enough STFT frames")
    sent, heard = score.read(sent), score.read(heard)
    steps = []
    for at in np.arange(FROM_S, UNTIL_S, STEP_S):
        begin, end = int(at * score.RATE), int((at + 1) * score.RATE)
        estoi = score.estoi(*score.align(sent[begin:end], heard[begin : end + LATE_S * score.RATE])[:2])
        rates = [row["sent_kbps"] for row in rows if at <= row["secs"] < at + STEP_S]
        steps.append((estoi if estoi > NO_SPEECH else np.nan, np.mean(rates)))
    return steps


def main():
    with multiprocessing.Pool(2) as pool:
        calls = pool.map(run, [(pair, seed) for pair in PAIRS for seed in SEEDS])
    mean = np.nanmean([direction for call in calls for direction in call], axis=0)
    times = np.arange(FROM_S, UNTIL_S, STEP_S)
    print("| second | ESTOI | kbit/s |\n|---|---|---|")
    for at, (estoi, rate) in zip(times, mean):
        print(f"| {at:.1f} | {estoi:.2f} | {rate:.0f} |")
    usual = mean[times < BEGIN_S - 1, 1].mean()
    understood = next(at for at, (estoi, _) in zip(times, mean) if at >= BEGIN_S and estoi >= UNDERSTOOD)
    over = next(at for at, (_, rate) in zip(times, mean) if at >= END_S and rate <= OVERHEAD * usual)
    print(f"\nESTOI of {UNDERSTOOD} again in the second that begins {understood - BEGIN_S:.1f} s after losses began; "
          f"overhead gone {over - END_S:.1f} s after they ended.")


if __name__ == "__main__":
    main()
