"""Chromium calling Chromium through a weak link, in real time: quality, delay and rate of one call.

Needs Node and Chromium (`scripts/setup test`) and the relay: `cargo build --release -p undertone-io --example relay`.
On a busy machine Chromium's own threads come late: as root it runs at real-time priority, and still it is better to let it
have the machine alone. Runs differ: repeat with other seeds.
"""

import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

import score

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECS = 32
WINDOW, STEP = int(0.6 * score.RATE), int(0.25 * score.RATE)


def call(clips, seed, red=False, **link):
    """One call in which both ends say `clips`; `link` has what the relay takes: delay, loss, outage, jitter.

    Mean of both directions, from seven seconds in to the end: the lossy part without its beginning.
    """
    with tempfile.TemporaryDirectory() as out:
        said = np.concatenate([score.read(clip) for clip in clips])
        repeats = -(-(SECS + 10) * score.RATE // len(said))
        wide = np.clip(resample_poly(np.tile(said, repeats), 3, 1), -1, 0.999)
        wavfile.write(f"{out}/speech.wav", 48_000, (wide * 32_767).astype(np.int16))
        command = ["chrt", "-r", "1"] if os.getuid() == 0 else []
        command += ["node", str(ROOT / "bench/peers/chromium.mjs"), "--speech", f"{out}/speech.wav", "--out", out]
        for name, value in {"secs": SECS, "seed": seed, "red": int(red), **link}.items():
            command += [f"--{name}", str(value)]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=SECS + 60)
        result = json.loads(ended.stdout)
        rows = []
        for speaker, listener in [("a", "b"), ("b", "a")]:
            sent = _from(out, f"{speaker}-said", result["from_ms"])
            heard = _from(out, f"{listener}-heard", result["from_ms"])
            delays = _delays(sent, heard)
            rows.append([score.score_call(sent, heard), *(np.percentile(delays, [50, 95]) if len(delays) else [np.nan] * 2)])
    pesq, p50, p95 = map(float, np.mean(rows, axis=0))
    return {
        "pesq": pesq,
        "m2e_p50": p50,
        "m2e_p95": p95,
        "concealed_ratio": result["concealed_ratio"],
        "sent_kbps": result["sent_kbps"],
        "chromium": result["chromium"],
    }


def _from(folder, name, from_ms):
    """What a track delivered from that moment on, at our rate."""
    about = json.loads(pathlib.Path(folder, f"{name}.json").read_text())
    samples = np.fromfile(pathlib.Path(folder, f"{name}.pcm"), np.int16) / 32_768
    skipped = round((from_ms - about["starts_ms"]) * about["rate"] / 1000)
    common = np.gcd(score.RATE, about["rate"])
    return resample_poly(samples[max(0, skipped) :], score.RATE // common, about["rate"] // common)


def _delays(sent, heard):
    """From mouth to ear in ms, for each stretch of speech that is found again in what was heard."""
    delays = []
    for start in range(0, len(sent) - WINDOW, STEP):
        said = sent[start : start + WINDOW]
        around = heard[start : start + WINDOW + int(score.LATEST_S * score.RATE)]
        if np.sqrt(np.mean(said**2)) < 0.012 or len(around) <= WINDOW:
            continue
        power = np.concatenate([[0], np.cumsum(around**2)])
        loud = np.sqrt(np.maximum(power[WINDOW:] - power[:-WINDOW], 1e-9) * np.sum(said**2))
        alike = correlate(around, said, "valid", method="fft") / loud
        if alike.max() > 0.5:
            delays.append(int(np.argmax(alike)) * 1000 / score.RATE)
    # Speech repeats itself now and then: what lies a second off is another word.
    delays = np.array(delays)
    return delays[np.abs(delays - np.median(delays)) < 1000] if len(delays) else delays
