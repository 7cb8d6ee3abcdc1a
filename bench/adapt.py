#!/usr/bin/env python3
"""The tables of engine/src/adapt/quality.rs: what listeners hear of rates, losses and deep redundancy.

    make bench-adapt

Runs `undertone lab speech` with fixed plans and scores what was heard with PESQ-WB. Quality is PESQ above 1; a flaw is its
inverse, and flaws add: what a share of concealed or deep speech adds, for the whole of it, is what the tables hold, in
thousandths. That of concealed speech grows with its share, by a line that is fitted to all the losses below. Learned on the
four clips below and on independent losses; `docs/speech.md` shows what comes of it on nine clips and on outages too.
"""

import json
import multiprocessing
import pathlib
import subprocess
import tempfile

import numpy as np

import score

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERTONE = ROOT / "target/release/undertone"
CLIPS = [
    ROOT / "testdata/speech" / name
    for name in (
        "librivox_austen_0870.wav",
        "codec2_speech_orig_16k.wav",
        "asterisk_fr_demo-congrats.wav",
        "asterisk_ru_demo-congrats.wav",
    )
]
SEEDS = (1, 2, 3)
RATES = (6, 6.5, 7, 7.5, 8, 9, 10, 11, 12, 14, 16, 18, 20, 23)
NARROW_RATES = (6, 6.5, 7, 7.5, 8)
LENGTHS = (20, 40, 60, 120)
QUANTISERS = (2, 4, 6, 8, 10)
LOSSES = (2, 4, 8, 15, 25, 40)


def one(job):
    clip, seed, plan, loss, lookahead = job
    with tempfile.TemporaryDirectory() as out:
        command = [UNDERTONE, "lab", "speech", "--speech", clip, "--wire-kbps", "1000", "--loss", str(loss)]
        command += ["--lookahead-ms", str(lookahead), "--seed", str(seed), "--plan", json.dumps(plan)]
        command += ["--out", out, "--json"]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        out = pathlib.Path(out)
        heard = score.pesq_wb(*score.align(score.read(out / "sent.wav"), score.read(out / "received.wav"))[:2])
    return heard, result["concealed_ratio"], result["recovered"]["dred"]


def measure(pool, plan, loss=0, lookahead=0):
    """Mean PESQ, share concealed, share from deep redundancy."""
    jobs = [(clip, seed, plan, loss, lookahead) for clip in CLIPS for seed in (SEEDS if loss else SEEDS[:1])]
    return np.mean(pool.map(one, jobs), axis=0)


def flaw(pesq):
    return 1 / (pesq - 1)


def main():
    with multiprocessing.Pool(2) as pool:
        print("RATES: bit/s, quality at 20 ms and at longer packets, in thousandths")
        for kbps in RATES:
            print(rate_row(pool, kbps, narrowband=False), flush=True)
        print("NARROW: the same where speech may be narrowband")
        for kbps in NARROW_RATES:
            print(rate_row(pool, kbps, narrowband=True), flush=True)
        print("QUANTISERS: flaw of deep speech, in packets of 60 ms")
        seen = {ms: of_length(pool, ms) for ms in LENGTHS}
        for quantiser in QUANTISERS:
            print(f"    ({quantiser:2}, {1000 * deep_flaw(pool, quantiser, *seen[60]):5.0f}),", flush=True)
        print("LENGTHS: ms, flaw of concealed speech, how much it grows with its share, what deep speech adds to its quantiser's")
        usual = deep_flaw(pool, QUANTISERS[0], *seen[60])
        for ms, (plan, clean, (little, crowded)) in seen.items():
            more = deep_flaw(pool, QUANTISERS[0], plan, clean, (little, crowded)) - usual
            print(f"    ({ms:3}, {1000 * little:5.0f}, {1000 * crowded:5.0f}, {1000 * more:5.0f}),", flush=True)


def of_length(pool, ms):
    """Packets of so many ms: their plan, the flaw of its coding, that of concealed speech."""
    plan = {"packet_ms": ms, "kbps": 16}
    clean = flaw(measure(pool, plan)[0])
    return plan, clean, concealed_flaw(pool, plan, clean)


def rate_row(pool, kbps, narrowband):
    plan = {"kbps": kbps, "narrowband": narrowband}
    short, long = (measure(pool, plan | {"packet_ms": ms})[0] for ms in (20, 60))
    return f"    ({1000 * kbps:6.0f}, {1000 * (short - 1):5.0f}, {1000 * (long - 1):5.0f}),"


def concealed_flaw(pool, plan, clean):
    """Of the whole of it while it is little, and how much that grows with its share; what is hardly heard counts as much
    as what ruins all."""
    rows = np.array([measure(pool, plan, loss=loss)[:2] for loss in LOSSES])
    shares = rows[:, 1]
    flaws = np.array([flaw(pesq) - clean for pesq in rows[:, 0]]) / shares
    crowded, little = np.polyfit(shares, flaws, 1, w=1 / flaws)
    return little, crowded


def deep_flaw(pool, quantiser, plan, clean, concealed):
    redundancy = {"span_ms": 480, "quantiser": quantiser, "slope": 2}
    pesq, share, deep = measure(pool, {**plan, "redundancy": redundancy}, loss=25, lookahead=480)
    little, crowded = concealed
    return (flaw(pesq) - clean - (little + crowded * share) * share) / deep


if __name__ == "__main__":
    main()
