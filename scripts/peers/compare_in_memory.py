#!/usr/bin/env python3
"""Whole-program training speed in memory beside PyTorch: alternates the two and prints medians of steps a second.

Runs scenarios/in-memory.yaml with the built program and pytorch_mlp.py in turn, so that both see the same machine.
Spillbench uses two threads (one for the small network), PyTorch the better of one and two; PyTorch repeats one batch,
spillbench loads a new one at every step. Needs torch. Usage: compare_in_memory.py [--rounds N] [--program target/release/spillbench]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCENARIO = HERE.parent.parent / "scenarios" / "in-memory.yaml"

# Arms of the scenario, the batch size of each, and PyTorch's name for its network.
ARMS = {
    "wide-64": (64, "784-1024-1024-10/64"),
    "wide-64-folded": (64, "784-1024-1024-10/64"),
    "wide-256": (256, "784-1024-1024-10/256"),
    "wide-256-folded": (256, "784-1024-1024-10/256"),
    "deep-64": (64, "784-4096x4-10/64"),
    "deep-64-folded": (64, "784-4096x4-10/64"),
    "deep-256": (256, "784-4096x4-10/256"),
    "deep-256-folded": (256, "784-4096x4-10/256"),
    "small-32": (32, "784-128-10/32"),
    "small-32-folded": (32, "784-128-10/32"),
}


def ours(program):
    """Steps a second of each arm, from the summaries of a fresh run."""
    with tempfile.TemporaryDirectory() as results:
        command = [program, "run", str(SCENARIO), "--results", results]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        summaries = [json.loads(path.read_text()) for path in pathlib.Path(results).glob("*/*/summary.json")]
    return {s["arm"]: s["samples_per_s"] / ARMS[s["arm"]][0] for s in summaries}


def pytorch():
    """Steps a second of each network, with one thread or two, whichever is faster."""
    names = sorted({name for _, name in ARMS.values()})
    best = dict.fromkeys(names, 0.0)
    for threads in ("1", "2"):
        command = [sys.executable, str(HERE / "pytorch_mlp.py"), "--threads", threads, *names]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in map(json.loads, output.splitlines()):
            best[line["network"]] = max(best[line["network"]], line["steps_per_s"])
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="target/release/spillbench")
    arguments = parser.parse_args()
    rounds = [(ours(arguments.program), pytorch()) for _ in range(arguments.rounds)]
    for arm, (_, name) in ARMS.items():
        rates = [ours[arm] for ours, _ in rounds]
        peers = [peer[name] for _, peer in rounds]
        ratios = [rate / peer for rate, peer in zip(rates, peers)]
        print(json.dumps({
            "arm": arm,
            "steps_per_s": round(statistics.median(rates), 1),
            "pytorch_steps_per_s": round(statistics.median(peers), 1),
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
        }))


if __name__ == "__main__":
    main()
