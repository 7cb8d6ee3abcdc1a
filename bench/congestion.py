#!/usr/bin/env python3
"""Congestion control beside the peers: measures every table of docs/congestion.md and writes it.

    make bench-congestion           a minute; virtual time: the same digits on every run of one machine

Recorded links are not part of the repository: give files in mahimahi's format, and their table comes out on the terminal.

    bench/congestion.py TRACE...
"""

import json
import math
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNDERTONE = ROOT / "target/release/undertone"
PEERS = ROOT / "target/peers"
CONTROLLERS = {
    "Undertone": [],
    "GoogCC": ["--peer", f"{PEERS}/googcc"],
    "GoogCC, losses not told": ["--peer", f"{PEERS}/googcc --no-loss-reports"],
    "rtc-interceptor": ["--peer", f"{PEERS}/interceptor"],
    "AIMD": ["--aimd"],
}
CASES = [
    ("5.1", "one flow, 1 → 2.5 → 0.6 → 1 Mbit/s"),
    ("5.2", "two flows, 4 → 2 → 3.5 → 1 → 2 Mbit/s"),
    ("5.3", "a flow each way, reports on the same links"),
    ("5.4", "three flows, one after the other, 3.5 Mbit/s"),
    ("5.5", "five flows, 10 to 150 ms away, 4 Mbit/s"),
    ("5.6", "beside a long TCP, queue 300 ms"),
    ("5.6:1000", "the same, queue 1000 ms"),
    ("5.7", "two flows beside ten short TCP, 2 Mbit/s"),
    ("5.8", "three flows, one of which pauses, 3.5 Mbit/s"),
    ("loss:5", "2 Mbit/s, 5 % lost by chance"),
    ("loss:10", "2 Mbit/s, 10 % lost by chance"),
    ("loss:20", "2 Mbit/s, 20 % lost by chance"),
    ("steps:2000@0,400@20,2000@40", "2 → 0.4 → 2 Mbit/s"),
]
PAGE = """# Congestion control beside its peers

Made by `make bench-congestion` out of this repository alone: change `bench/congestion.py`, not this page. Virtual time: the same
digits on every run.

Every controller gets the same link, source, reports and account (`undertone lab congestion`): pictures, 30 a second, as large as its
estimate has it, paced as it wants; reports of every packet each 50 ms; 150 to 1500 kbit/s, from 300. The cases are those of
RFC 8867 §5 (50 ms one way, a drop-tail queue of 300 ms, but where said), random loss, and a step. Nothing is sent again, so a
picture with a lost packet is late. Used: what arrived of what the flows could have used. Queue: what packets waited beyond
the way itself. 80 %: the second in which the first flow gets that much of its share. TCP is a model of CUBIC (RFC 9438).

{TABLES}

GoogCC is libwebrtc's of 2023 out of Debian's `libtgowt-dev`, without field trials, with its own probes. It is told of losses once a second,
as RTCP receiver reports do in a call; and a second time not at all, which is its best case where losses are the path's own, and
no set-up that a call has. rtc-interceptor is the Rust crate 0.21, its implementation of the same paper. AIMD is the baseline of
`transport/bwe/aimd.rs`: 40 kbit/s more a second, 85 % after a queue of 50 ms or a tenth lost.

Any other controller takes part that reads a line for each event and answers with rates (`--peer`); `bench/peers/googcc.cc` says
which lines.

What this does not show: an encoder that takes time to follow, audio, repairs (`undertone lab call --video` has all three), and
real radio: give a recording with `--case trace:FILE`.
"""


def run(case, options, extra=()):
    command = [UNDERTONE, "lab", "congestion", "--json", "--case", case, *extra, *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cell(result):
    queue = result["queue_ms"]
    return [
        f"{result['utilisation']:.3f}",
        f"{queue['p50']:.0f} / {queue['p95']:.0f} / {queue['p99']:.0f}",
        f"{100 * result['loss']:.2f} %",
        f"{100 * result['late_ratio']:.1f} %",
        f"{result['jain']:.3f}" if len(result["flows_kbps"]) > 1 else "–",
        f"{100 * result['share']:.0f} %" if result["share"] < 1 else "–",
        f"{result['ramp80_s']}" if result["ramp80_s"] >= 0 else "never",
        f"{result['recover90_s']:.1f} s" if result.get("recover90_s") else "–",
    ]


def tables():
    for case, what in CASES:
        yield f"\n## {case.split(':2000@')[0]}: {what}\n"
        yield "| | used | queue ms, 50 / 95 / 99 % | lost | late | Jain | beside TCP | 80 % | back to 90 % |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for name, options in CONTROLLERS.items():
            yield f"| {name} | {' | '.join(cell(run(case, options)))} |"


def recorded(traces):
    """Goodput beside GoogCC's, up to 2.5 Mbit/s."""
    ratios = []
    for trace in traces:
        ours, theirs = (run(f"trace:{trace}", CONTROLLERS[name], ["--rmax", "2500"]) for name in ("Undertone", "GoogCC"))
        ratios.append(ours["kbps"] / theirs["kbps"])
        late = [f"{100 * it['late_ratio']:.1f} %" for it in (ours, theirs)]
        print(
            f"{pathlib.Path(trace).name:40} {ours['kbps']:5.0f} {theirs['kbps']:5.0f} kbit/s ({ratios[-1]:.2f}), "
            f"used {ours['utilisation']:.2f}, late {late[0]}, {late[1]}"
        )
    print(f"geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    if sys.argv[1:]:
        recorded(sys.argv[1:])
    else:
        (ROOT / "docs/congestion.md").write_text(PAGE.replace("{TABLES}", "\n".join(tables()).strip()))
