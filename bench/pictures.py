#!/usr/bin/env python3
"""Pictures where packets get lost: the rows of the README.

    make bench-pictures

The test pattern (640×360), then a film (1280×720, film.py), beside speech; 20 s, six seeds, the film three. A row is their
mean, and the share frozen is shown for each as well. PSNR is that of the luma of the pictures shown, in the size in which they
were filmed. "used" counts the bits of pictures that arrived once, and nothing else. Virtual time: the same digits on every run.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERTONE = ROOT / "target/release/undertone"
SPEECH = ROOT / "testdata/speech"
THIN = ["--rate", "500", "--queue", "300"]
WEAK = ["--rate", "600", "--delay", "30", "--jitter", "20", "--loss", "8"]
NETWORKS = [(f"500 kbit/s, loss {loss} %", [*THIN, "--loss", str(loss)]) for loss in (0, 5, 20, 40, 60)]
NETWORKS += [("600 kbit/s, loss 8 %, 30 ms, 20 ms jitter", WEAK), ("the same through the SFU", [*WEAK, "--topology", "sfu"])]
SEEDS = range(1, 7)
FILM = ROOT / "target/film.y4m"
FILM_NETWORKS = [(f"film, {rate} kbit/s, loss {loss} %", ["--rate", str(rate), "--queue", "300", "--loss", str(loss)])
                 for rate in (500, 2000) for loss in (0, 5, 20)]
FILM_SEEDS = range(1, 4)


def run(video, options, seed):
    """Pictures a second, share frozen, 95 % of delays, unique bits of pictures of what the link could carry, PSNR."""
    command = [UNDERTONE, "lab", "call", "--json", "--video", video, "--seed", str(seed), *options]
    command += ["--speech", SPEECH / "librivox_austen_0870.wav", "--speech-back", SPEECH / "codec2_speech_orig_16k.wav"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    video = result["a_to_b"]["video"]
    values = video["fps"], 100 * video["freeze_ratio"], video["delay_ms"]["p95"], 100 * video["utilisation"]
    return *values, video["psnr_db"]


def table(video, networks, seeds):
    for name, options in networks:
        rows = [run(video, options, seed) for seed in seeds]
        fps, frozen, delay, used, psnr = (sum(column) / len(rows) for column in zip(*rows))
        each = " ".join(f"{abs(row[1]):.0f}" for row in rows)
        figures = f"{fps:.1f} | {abs(frozen):.1f} % | {delay:.0f} ms | {used:.0f} % | {psnr:.1f} dB | {each}"
        print(f"| {name} | {figures} |", flush=True)


def main():
    print("| link | a second | frozen | 95 % of delays | used | PSNR | frozen, by seed |\n|---|---|---|---|---|---|---|")
    table("pattern", NETWORKS, SEEDS)
    subprocess.run([sys.executable, ROOT / "bench/film.py", FILM], check=True)
    table(FILM, FILM_NETWORKS, FILM_SEEDS)
    FILM.unlink()


if __name__ == "__main__":
    main()
