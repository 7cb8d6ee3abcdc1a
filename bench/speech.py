#!/usr/bin/env python3
"""Speech beside the peers: measures every table of docs/speech.md and writes it, with its picture.

    make bench-speech                                   everything: about an hour on two cores
    make bench-speech SECTIONS="loss ladder calls"      these sections again, the rest as kept; peers have their own

Sections: loss-peers, loss, fixed, ladder, jitter, calls, calls-chromium.

What was measured is kept in bench/measured. All but the calls repeat to the digit on one machine; a call between
Chromiums runs in real time, and wants the machine for itself.
"""

import datetime
import json
import multiprocessing
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy as np
from scipy.io import wavfile

import picture
import score
from adapt import RATES

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bench/peers"))
import chromium
import speech_codecs as codecs

# What was measured is kept beside the page that shows it, so that one section can be measured again alone.
KEPT = ROOT / "bench/measured"
UNDERTONE = ROOT / "target/release/undertone"
EXAMPLES = ROOT / "target/release/examples"
CLIPS = sorted((ROOT / "testdata/speech").glob("*.wav"))
SEEDS = (1, 2)


# ---- Under known losses -----------------------------------------------------------------------------------------------

# Wire kbit/s; what the link does; how long we wait for repairs. A peer waits for as long as its own copies are away.
CELLS = [
    (11, {}, 300),
    (24, {}, 300),
    (24, {"loss": 30}, 300),
    (24, {"loss": 50}, 480),
    (24, {"loss": 80}, 480),
    (24, {"outage": "800/200"}, 480),
    (40, {}, 300),
    (40, {"loss": 30}, 300),
    (40, {"loss": 50}, 480),
    (40, {"loss": 80}, 480),
    (40, {"outage": "800/200"}, 480),
]

# Every way in which a peer may be set up: packet time in ms and copies of earlier packets. The best of a cell counts.
LONG = ((20, 0), (60, 0), (100, 0), (120, 0))
COPIES = tuple((packet_ms, copies) for packet_ms in (20, 60) for copies in (1, 2))
PEERS = {
    "Opus, in-band FEC": (lambda: codecs.Opus(), LONG),
    "Opus, FEC, deep PLC": (lambda: codecs.Opus(deep=True), LONG),
    "Opus with RED": (lambda: codecs.Opus(fec=False), COPIES),
    "SILK, its FEC": (lambda: codecs.Silk(), LONG),
    "AMR-WB": (lambda: codecs.AmrWb(), ((20, 0), (60, 0), (80, 0), (60, 1), (60, 2))),
}
OURS = "Undertone"
# A set-up is chosen on these, and shown on all.
CHOOSERS = CLIPS[::3]


def fates(link, seed):
    """What `speech_codecs.transmit` asks: which of so many packets the link loses."""

    def lost(packets, packet_ms):
        command = [EXAMPLES / "fates", "--seed", seed, "--packets", packets, "--packet-ms", packet_ms]
        command += [text for name, value in link.items() for text in (f"--{name}", value)]
        return [fate == "1" for fate in run(command).strip()]

    return lost


def run(command):
    ended = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return ended.stdout


def loss_percent(link):
    """The share that gets lost, as the peers are told it."""
    good, bad = map(int, link.get("outage", "1/0").split("/"))
    return link.get("loss", 100 * bad / (good + bad))


def said_once(job):
    """One clip through one engine: its job with the figures, or `None` where the engine cannot do it at all."""
    sent = score.read(job["clip"])
    if job["engine"] == OURS:
        heard, wire_kbps, plan = ours(job)
        job = job | {"packet_ms": plan["packet_ms"]}
    else:
        make, _ = PEERS[job["engine"]]
        pcm = (sent * 32_768).astype(np.int16)
        lost = fates(job["link"], job["seed"])
        try:
            heard, wire_kbps = codecs.transmit(
                make(), pcm, job["wire"], job["packet_ms"], lost, loss_percent(job["link"]), job["copies"]
            )
        except codecs.Infeasible:
            return None
        heard = heard / 32_768
    if job.get("choosing"):
        sent, heard, _ = score.align(sent, heard)
        return job | {"pesq": score.pesq_wb(sent, heard), "wire_kbps": wire_kbps}
    return job | score.score(sent, heard) | {"wire_kbps": wire_kbps}


def ours(job):
    """`undertone lab speech`: what was heard, the rate on the wire and the plan."""
    with tempfile.TemporaryDirectory() as out:
        command = [UNDERTONE, "lab", "speech", "--json", "--out", out, "--speech", job["clip"], "--seed", job["seed"]]
        command += ["--wire-kbps", job["wire"], "--lookahead-ms", job["lookahead_ms"]]
        command += [text for name, value in job["link"].items() for text in (f"--{name}", value)]
        if "plan" in job:
            command += ["--plan", json.dumps(job["plan"])]
        result = json.loads(run(command))
        return score.read(f"{out}/received.wav"), result["wire_kbps"], result["plan"]


def rows(pool, jobs):
    return [row for row in pool.imap(said_once, jobs) if row]


def mean(some, *names):
    return {name: float(np.mean([row[name] for row in some])) for name in names}


def tell(row):
    """Shows how far it is."""
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


FIGURES = ("pesq", "plcmos", "estoi", "wire_kbps")


def cells():
    """Each cell's condition, and what all engines' jobs in it have in common."""
    for wire, link, lookahead_ms in CELLS:
        job = {"wire": wire, "link": link, "lookahead_ms": lookahead_ms}
        yield job, [{"clip": str(clip), "seed": seed} for clip in CLIPS for seed in (SEEDS if link else SEEDS[:1])]


def measure_loss(pool):
    found = []
    for cell, runs in cells():
        some = rows(pool, [cell | {"engine": OURS} | run for run in runs])
        figures = mean(some, *FIGURES) | {"packet_ms": some[0]["packet_ms"]}
        found.append(tell(cell | {"engines": {OURS: figures}}))
    return found


def measure_loss_peers(pool):
    found = []
    for cell, runs in cells():
        engines = {}
        for engine, (_, setups) in PEERS.items():
            best = None
            for packet_ms, copies in setups:
                setup = {"engine": engine, "packet_ms": packet_ms, "copies": copies}
                choosing = {"seed": SEEDS[0], "choosing": True}
                some = rows(pool, [cell | setup | choosing | {"clip": str(clip)} for clip in CHOOSERS])
                if some and (best is None or mean(some, "pesq")["pesq"] > best[0]):
                    best = (mean(some, "pesq")["pesq"], setup)
            if best:
                engines[engine] = mean(rows(pool, [cell | best[1] | run for run in runs]), *FIGURES) | best[1]
        found.append(tell(cell | {"engines": engines}))
    return found


# ---- Plans that are fixed by hand -------------------------------------------------------------------------------------

REPAIR_PERMILLE = (0, 500, 1500, 4000)
# Quantisers of deep redundancy, and the bits of 40 ms.
DEEP_BITS = {None: 0, 2: 66, 6: 40}
# A plan is estimated before it is run: what then takes more of the wire than this is left out.
OVERDRAWN = 1.04
# So many are scored in full.
FINALISTS = 3


def fixed_plans(wire, link, lookahead_ms):
    """Every packet time, amount of repair and quantiser, each with the most speech that the wire has room for."""
    for packet_ms in (20, 40, 60, 120):
        back = lookahead_ms // packet_ms
        span_ms = min(1040, -(-(back * packet_ms + max(20, packet_ms * 3 // 4)) // 40) * 40)
        for permille in REPAIR_PERMILLE if link else (0,):
            for quantiser, bits in DEEP_BITS.items() if link else [(None, 0)]:
                chunks = span_ms // 40
                deep = quantiser and (110 + bits * chunks * (1 - min(chunks, 20) / 80)) / packet_ms
                headers = 8 * (45 if permille else 40) / packet_ms
                room = (wire - headers - (deep or 0)) / (1 + 1.25 * permille / 1000)
                fitting = [kbps for kbps in RATES if kbps <= room]
                if not fitting:
                    continue
                plan = {"packet_ms": packet_ms, "kbps": fitting[-1]}
                if permille:
                    plan["code"] = {"window": min(25, back), "permille": permille}
                if quantiser:
                    plan["redundancy"] = {"span_ms": span_ms, "quantiser": quantiser, "slope": 2}
                yield plan


def measure_fixed(pool):
    found = []
    for cell, runs in cells():
        jobs = [
            cell | {"engine": OURS, "seed": SEEDS[0], "choosing": True, "plan": plan, "clip": str(clip)}
            for plan in fixed_plans(**cell)
            for clip in CHOOSERS
        ]
        scored = list(pool.imap(said_once, jobs))
        plans = {}
        for row in scored:
            plans.setdefault(json.dumps(row["plan"]), []).append(row)
        plans = [some for some in plans.values() if mean(some, "wire_kbps")["wire_kbps"] < OVERDRAWN * cell["wire"]]
        plans.sort(key=lambda some: -mean(some, "pesq")["pesq"])
        finalists = []
        for some in plans[:FINALISTS]:
            plan = some[0]["plan"]
            figures = mean(rows(pool, [cell | {"engine": OURS, "plan": plan} | run for run in runs]), *FIGURES)
            finalists.append(figures | {"plan": plan, "packet_ms": plan["packet_ms"]})
        best = max(finalists, key=lambda it: it["pesq"])
        found.append(tell(cell | {"tried": len(plans), "best": best}))
    return found


# ---- The clean ladder -------------------------------------------------------------------------------------------------

LADDER_KBPS = (6, 9, 12, 16, 24, 32, 40)
# Headers of a 20 ms packet.
HEADERS_KBPS = 16


def measure_ladder(pool):
    found = []
    for coded in LADDER_KBPS:
        step = {"coded": coded, "engines": {}}
        base = {"wire": coded + HEADERS_KBPS, "link": {}, "lookahead_ms": 100, "seed": 1, "packet_ms": 20, "copies": 0}
        base["plan"] = {"packet_ms": 20, "kbps": coded}
        for engine in [OURS, "Opus, in-band FEC", "Opus, FEC, deep PLC", "SILK, its FEC", "AMR-WB"]:
            some = rows(pool, [base | {"engine": engine, "clip": str(clip)} for clip in CLIPS])
            if some:
                figures = mean(some, *FIGURES)
                step["engines"][engine] = figures | {"coded_kbps": figures["wire_kbps"] - HEADERS_KBPS}
        found.append(tell(step))
    return found


# ---- Jitter buffers ---------------------------------------------------------------------------------------------------

# Name; what the arrivals example takes. GPRS carries nothing larger each 20 ms.
ARRIVALS = [
    ("jitter 0–50 ms", ["--jitter", 50]),
    ("jitter 0–100 ms", ["--jitter", 100]),
    ("jitter 0–200 ms", ["--jitter", 200]),
    ("gprs", ["--model", "gprs", "--size", 60]),
    *((name, ["--model", name]) for name in "edge 3g-slow 3g hsdpa lte lte-train 5g-handover".split()),
    *((name, ["--model", name]) for name in "wifi-good wifi-crowded wifi-bad satellite-leo".split()),
]
STALL = "one stall of 1 s"
BUFFER_SECS = 120
BUFFER_KBPS = 128
BUFFER_SPEECH = ROOT / "testdata/speech/codec2_speech_orig_16k.wav"
BUFFER_FIGURES = ("m2e_mean_ms", "m2e_p50", "m2e_p95", "conceal_ratio", "emos_mean", "emos_p10", "plcmos")


def arrivals_of(name, seed, path):
    for known, options in ARRIVALS:
        if known == name:
            text = run([EXAMPLES / "arrivals", "--secs", BUFFER_SECS, "--seed", seed, *options])
    if name == STALL:
        lines = ["seq,send_ms,arrival_ms"]
        for seq in range(BUFFER_SECS * 50):
            arrival = seq * 20 + 20
            lines.append(f"{seq},{seq * 20},{31_000 if 30_000 <= arrival < 31_000 else arrival}")
        text = "\n".join(lines) + "\n"
    pathlib.Path(path).write_text(text)


def buffered(job):
    """One trace through both buffers."""
    name, seed = job
    result = {"name": name}
    with tempfile.TemporaryDirectory() as out:
        arrivals = f"{out}/arrivals.csv"
        arrivals_of(name, seed, arrivals)
        # Both play speech that was coded, and alike: else PLCMOS tells the codec from the buffer by 0.1.
        coded = f"{out}/coded.wav"
        run([EXAMPLES / "roundtrip", BUFFER_SPEECH, coded, BUFFER_KBPS])
        commands = {
            OURS: [UNDERTONE, "lab", "jitter", "--json", "--arrivals", arrivals, "--speech", BUFFER_SPEECH, "--out", out,
                   "--kbps", BUFFER_KBPS],
            "NetEq": [ROOT / "target/peers/neteq", arrivals, coded, f"{out}/played.wav"],
        }
        for engine, command in commands.items():
            figures = json.loads(run(command))
            # Half a minute tells it; the network hardly changes its ways.
            figures["plcmos"] = score.plcmos_of(score.read(f"{out}/played.wav")[: 40 * score.RATE])
            result[engine] = {name: figures[name] for name in BUFFER_FIGURES}
    return result


def measure_jitter(pool):
    names = [name for name, _ in ARRIVALS] + [STALL]
    jobs = [(name, seed) for name in names for seed in (SEEDS if name != STALL else SEEDS[:1])]
    found = list(pool.imap(buffered, jobs))
    table = []
    for name in names:
        some = [row for row in found if row["name"] == name]
        engines = {engine: mean([row[engine] for row in some], *BUFFER_FIGURES) for engine in (OURS, "NetEq")}
        table.append({"name": name, "engines": engines})
    return table


# ---- Calls ------------------------------------------------------------------------------------------------------------

CALL_CLIPS = [ROOT / f"testdata/speech/{name}.wav" for name in (
    "librivox_austen_0890", "librivox_austen_0870", "codec2_speech_orig_16k", "librivox_austen_0920",
)]
CALLS = [
    ("clean", {}),
    *((f"loss {percent} %", {"loss": percent}) for percent in (10, 20, 30, 50, 70)),
    ("outages 900/100 ms", {"outage": "900/100"}),
    ("outages 800/200 ms", {"outage": "800/200"}),
]
CALL_FIGURES = ("pesq", "m2e_p50", "m2e_p95", "concealed_ratio", "sent_kbps")
# From here on a call is judged; Chromium's losses begin two seconds before.
CALL_FROM_S = 7


def called(job):
    """One call of ours in virtual time: mean of both directions."""
    link, seed = job
    with tempfile.TemporaryDirectory() as out:
        said = np.concatenate([score.read(clip) for clip in CALL_CLIPS])
        wavfile.write(f"{out}/speech.wav", score.RATE, (said * 32_768).astype(np.int16))
        command = [UNDERTONE, "lab", "call", "--json", "--out", out, "--delay", 20, "--secs", chromium.SECS]
        command += ["--seed", seed, "--speech", f"{out}/speech.wav", "--speech-back", f"{out}/speech.wav"]
        command += [text for name, value in link.items() for text in (f"--{name}", value)]
        result = json.loads(run(command))
        some = []
        for direction, suffix in [("a_to_b", ""), ("b_to_a", "-back")]:
            files = [score.read(f"{out}/{name}{suffix}.wav")[CALL_FROM_S * score.RATE :] for name in ("sent", "received")]
            figures = result[direction]
            some.append({
                "pesq": score.score_call(*files),
                "m2e_p50": figures["m2e_ms"]["p50"],
                "m2e_p95": figures["m2e_ms"]["p95"],
                "concealed_ratio": figures["concealed_ratio"],
                "sent_kbps": figures["wire_kbps"]["sent"],
            })
        return mean(some, *CALL_FIGURES)


def measure_calls(pool):
    found = []
    for name, link in CALLS:
        some = list(pool.imap(called, [(link, seed) for seed in SEEDS]))
        found.append(tell({"name": name, "engines": {OURS: mean(some, *CALL_FIGURES)}}))
    return found


def measure_calls_chromium(_):
    found = []
    for name, link in CALLS:
        row = {"name": name, "engines": {}}
        for engine, red in [("Chromium", False), ("Chromium, RED", True)]:
            some = [chromium.call(CALL_CLIPS, seed, red=red, **link) for seed in SEEDS]
            row["engines"][engine] = mean(some, *CALL_FIGURES)
            row["chromium"] = some[0]["chromium"]
        found.append(tell(row))
    return found


# ---- The document -----------------------------------------------------------------------------------------------------


def table(header, lines):
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def name_of(link):
    if "outage" in link:
        return f"outages {link['outage']} ms"
    return f"{link['loss']} %" if link else "none"


def two(value):
    return f"{value:.2f}"


def beside(engines, figure, text):
    """A cell for each engine, the best figure in bold; a dash where an engine cannot do it."""
    shown = [it and two(it[figure]) for it in engines]
    top = max((it for it in shown if it), key=float)
    return ["–" if it is None else text(f"**{value}**" if value == top else value, it) for it, value in zip(engines, shown)]


def loss_table(cells):
    engines = [OURS, *PEERS]

    def text(pesq, it):
        setup = f", {it['packet_ms']} ms" if "packet_ms" in it else ""
        setup += f" + {it['copies']}" if it.get("copies") else ""
        return f"{pesq} / {two(it['plcmos'])} / {two(it['estoi'])} ({it['wire_kbps']:.1f}{setup})"

    lines = []
    for cell in cells:
        found = [cell["engines"].get(engine) for engine in engines]
        lines.append([str(cell["wire"]), name_of(cell["link"]), *beside(found, "pesq", text)])
    return table(["wire", "loss", *engines], lines)


def plan_of(plan):
    text = f"{plan['packet_ms']} ms, {plan['kbps']:g} kbit/s"
    if "code" in plan:
        text += f", repair {plan['code']['permille'] / 1000:g}"
    if "redundancy" in plan:
        text += f", redundancy {plan['redundancy']['span_ms']} ms / {plan['redundancy']['quantiser']}"
    return text


def fixed_table(cells, fixed):
    lines = []
    for cell, other in zip(cells, fixed):
        ours, best = cell["engines"][OURS], other["best"]
        behind = [f"{ours[figure] - best[figure]:+.2f}" for figure in ("pesq", "plcmos")]
        shown = [f"{two(it['pesq'])} / {two(it['plcmos'])} ({it['wire_kbps']:.1f})" for it in (ours, best)]
        lines.append([str(cell["wire"]), name_of(cell["link"]), *shown, " / ".join(behind), plan_of(best["plan"])])
    return table(["wire", "loss", "planned", "best of those fixed", "difference", "which"], lines)


def ladder_table(steps):
    engines = list(dict.fromkeys(engine for step in steps for engine in step["engines"]))

    def text(pesq, it):
        return f"{pesq} / {two(it['plcmos'])} ({it['coded_kbps']:.1f})"

    lines = []
    for step in steps:
        found = [step["engines"].get(engine) for engine in engines]
        lines.append([str(step["coded"]), *beside(found, "pesq", text)])
    return table(["coded", *engines], lines)


def jitter_table(rows):
    engines = list(rows[0]["engines"])

    def text(emos, it):
        delay = f"{it['m2e_mean_ms']:.0f} / {it['m2e_p95']:.0f} ms"
        return f"{emos} / {two(it['emos_p10'])}, {delay}, {100 * it['conceal_ratio']:.2f} %, {two(it['plcmos'])}"

    lines = [[row["name"], *beside([row["engines"][it] for it in engines], "emos_mean", text)] for row in rows]
    return table(["arrivals", *engines], lines)


def calls_table(rows):
    engines = list(rows[0]["engines"])

    def text(pesq, it):
        made_up, sent = f"{100 * it['concealed_ratio']:.1f} %", f"{it['sent_kbps']:.0f} kbit/s"
        return f"{pesq}, {it['m2e_p50']:.0f} / {it['m2e_p95']:.0f} ms, {made_up}, {sent}"

    lines = [[row["name"], *beside([row["engines"][it] for it in engines], "pesq", text)] for row in rows]
    return table(["link", *engines], lines)


def loss_curves(cells):
    """For each wire rate: engine → points (loss in percent, PESQ)."""
    panels = {}
    for cell in cells:
        if cell["wire"] in (24, 40) and "outage" not in cell["link"]:
            curves = panels.setdefault(f"{cell['wire']} kbit/s on the wire", {})
            for engine, it in cell["engines"].items():
                curves.setdefault(engine, []).append((cell["link"].get("loss", 0), it["pesq"]))
    return panels


SECTIONS = {
    "loss-peers": measure_loss_peers,
    "loss": measure_loss,
    "fixed": measure_fixed,
    "ladder": measure_ladder,
    "jitter": measure_jitter,
    "calls": measure_calls,
    "calls-chromium": measure_calls_chromium,
}


def joined(ours, peers):
    """The rows of both, ours first in each."""
    return [row | {"engines": row["engines"] | other["engines"]} for row, other in zip(ours, peers)]


def dates(kept):
    """When each section was measured: "2026-11-25 (loss-peers), 2026-11-26 (loss, ladder)"."""
    days = sorted({it["date"] for it in kept.values()})
    return ", ".join(f"{day} ({', '.join(name for name in kept if kept[name]['date'] == day)})" for day in days)


def write():
    kept = {name: json.loads(path.read_text()) for name in SECTIONS if (path := KEPT / f"{name}.json").exists()}
    missing = [name for name in SECTIONS if name not in kept]
    if missing:
        sys.exit(f"docs/speech.md is not written: never measured: {', '.join(missing)}")
    found = {name: it["found"] for name, it in kept.items()}
    losses = joined(found["loss"], found["loss-peers"])
    svg = picture.curves(loss_curves(losses), "packets lost, %", "PESQ-WB", (0, 80), (1, 4.6))
    (ROOT / "docs/speech-loss.svg").write_text(svg)
    text = (ROOT / "bench/speech.template.md").read_text()
    fields = {
        "LOSS": loss_table(losses),
        "FIXED": fixed_table(found["loss"], found["fixed"]),
        "LADDER": ladder_table(found["ladder"]),
        "JITTER": jitter_table(found["jitter"]),
        "CALLS": calls_table(joined(found["calls"], found["calls-chromium"])),
        "CHROMIUM": found["calls-chromium"][0]["chromium"].replace("Chrome/", "Chromium "),
        "MACHINE": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "DATES": dates(kept),
        "CLIPS": str(len(CLIPS)),
        "SEEDS": str(len(SEEDS)),
    }
    for name, value in fields.items():
        text = text.replace("{" + name + "}", value)
    (ROOT / "docs/speech.md").write_text(text)


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        sys.exit(f"no such section: {', '.join(unknown)}\n\n{__doc__}")
    KEPT.mkdir(parents=True, exist_ok=True)
    # Fresh processes rather than forks: onnxruntime's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(score.PROCESSES) as pool:
        for name in wanted:
            found = {"date": datetime.date.today().isoformat(), "found": SECTIONS[name](pool)}
            (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1))
    write()


if __name__ == "__main__":
    main()
