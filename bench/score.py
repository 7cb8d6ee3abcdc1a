#!/usr/bin/env python3
"""Scores what was heard against what was said: PESQ-WB (ITU-T P.862.2), ESTOI and PLCMOS v2.

    score.py SENT.wav HEARD.wav [SENT.wav HEARD.wav …]      one line of JSON for each pair
    score.py < pairs.jsonl                                  {"ref": SENT, "deg": HEARD, …}: other keys are handed through

Any key of a line beside the two stays on it, so a bench can label its rows. Lines come out in the order in which they
went in, worked on by two processes which load the models once. Files are WAV, 16 kHz, mono, 16 bits.

pesq     1.0 to 4.64, against the reference; under-rates speech that a decoder made up; 1.0 where it finds no speech
estoi    0 to 1, against the reference: how much is understood
plcmos   1 to 5, without a reference, trained on concealment; its ceiling differs between voices (3.8 to 4.8)
lag_ms   by how much the second file was shifted

The same files give the same digits on every run. No listening test stands behind any of them: read all three, and
differences rather than values.
"""

import json
import multiprocessing
import os
import sys

# One thread each: two processes fill two cores, and sums come out in one order. Read when numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnxruntime
from pesq import NoUtterancesError, pesq
from pystoi import stoi
from scipy.io import wavfile
from scipy.signal import correlate
from speechmos import plcmos

RATE = 16_000
PROCESSES = 2
# Decoders and their delay compensation may start a little early; a call is late by its whole delay.
EARLIEST_S = 0.1
LATEST_S = 2.0


def read(path):
    """Samples from −1 to 1."""
    rate, samples = wavfile.read(path)
    if rate != RATE or samples.ndim != 1 or samples.dtype != np.int16:
        raise ValueError(f"{path}: want 16 kHz, mono, 16 bits")
    return samples.astype(np.float64) / 32_768


def align(sent, heard):
    """Both cut to what they share after the one shift at which they are most alike, and that shift in samples.

    One shift for the whole file, as the metrics' own alignment wants it: playout that moves is the engine's doing and
    is scored.
    """
    product = correlate(heard, sent, "full", method="fft")
    zero = len(sent) - 1
    first = max(0, zero - int(EARLIEST_S * RATE))
    lag = first + int(np.argmax(product[first : zero + int(LATEST_S * RATE)])) - zero
    sent, heard = (sent, heard[lag:]) if lag >= 0 else (sent[-lag:], heard)
    length = min(len(sent), len(heard))
    return sent[:length], heard[:length], lag


def pesq_wb(sent, heard):
    """PESQ-WB of an aligned pair; about the worst there is if it finds no speech in one of them."""
    try:
        return float(pesq(RATE, sent, heard, "wb"))
    except NoUtterancesError:
        return 1.0


def estoi(sent, heard):
    """Extended STOI of an aligned pair."""
    return float(stoi(sent, heard, RATE, extended=True))


class Plcmos(plcmos.PLCMOS):
    """The package draws 15 raters anew for every file; here it is always the same 15, so that scores repeat."""

    def __init__(self):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.model_path, options, providers=["CPUExecutionProvider"])
        self.raters = np.random.default_rng(7).normal(size=(self.embed_rounds, 1, 64)).astype(np.float32)

    def score(self, heard):
        """The mean opinion of the 15."""
        features = self.stft_transform(heard).astype(np.float32)[np.newaxis, np.newaxis]
        opinions = [
            self.session.run(None, {"degraded_audio": features, "rater_embed": rater})[0] for rater in self.raters
        ]
        return float(np.mean(opinions))


_plcmos = None


def plcmos_of(heard):
    """PLCMOS of what was heard; the model is loaded once."""
    global _plcmos
    _plcmos = _plcmos or Plcmos()
    return _plcmos.score(heard)


def score(sent, heard):
    """Every figure of two arrays of samples."""
    sent, heard, lag = align(sent, heard)
    return {
        "pesq": pesq_wb(sent, heard),
        "estoi": estoi(sent, heard),
        "plcmos": plcmos_of(heard),
        "lag_ms": lag * 1000 / RATE,
    }


def score_call(sent, heard, piece_s=8):
    """PESQ of a long talk: the mean over pieces, each aligned alone, since a jitter buffer moves.

    Both begin at the same moment; `heard` is late by less than `LATEST_S`.
    """
    piece, late = piece_s * RATE, int(LATEST_S * RATE)
    starts = range(0, max(1, len(sent) - piece + 1), piece)
    pairs = (align(sent[start : start + piece], heard[start : start + piece + late])[:2] for start in starts)
    return float(np.mean([pesq_wb(*pair) for pair in pairs]))


def _row(pair):
    figures = score(read(pair["ref"]), read(pair["deg"]))
    return pair | {name: round(value, 4) for name, value in figures.items()}


def score_files(pairs):
    """For dictionaries with the paths `ref` and `deg`: the same with the figures added, one by one and in order."""
    # Fresh processes rather than forks: onnxruntime's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        yield from pool.imap(_row, pairs)


def main():
    paths = sys.argv[1:]
    if len(paths) % 2:
        sys.exit(__doc__)
    pairs = [{"ref": ref, "deg": deg} for ref, deg in zip(paths[::2], paths[1::2])]
    for row in score_files(pairs or map(json.loads, sys.stdin)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
