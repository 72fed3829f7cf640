#!/usr/bin/env python3
"""A network four times the memory allowed, beside PyTorch and DeepSpeed: alternates them and prints medians of step times.

Runs scenarios/out-of-core*.yaml with the built program, and the same network in pytorch_out_of_core.py (in memory; with
mapped parameters and memory capped at 1.6 GB) and deepspeed_nvme.py, in turn, so that all see the same machine. Needs root
for the cap (a memory cgroup, of either version), torch, and for Adam deepspeed.
Usage: compare_out_of_core.py [--rounds N] [--program target/release/spillbench] [--folder DIR] [--only sgd,adam,batch]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = HERE.parent.parent / "scenarios"
CAP_BYTES = 1_600_000_000


class MemoryCap:
    """A memory cgroup that a command is started in."""

    def __init__(self, limit_bytes):
        root = pathlib.Path("/sys/fs/cgroup")
        old = (root / "memory").is_dir()
        self.folder = (root / "memory" if old else root) / f"spillbench-{os.getpid()}"
        self.limit = self.folder / ("memory.limit_in_bytes" if old else "memory.max")
        self.limit_bytes = limit_bytes

    def __enter__(self):
        self.folder.mkdir()
        self.limit.write_text(str(self.limit_bytes))
        return self

    def __exit__(self, *_):
        self.folder.rmdir()

    def enter(self):
        """To be called in the child, before it becomes the command."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))


def ours(program, scenario, folder):
    """Step time and memory by arm, of a fresh run of a scenario."""
    with tempfile.TemporaryDirectory(dir=folder) as results:
        command = [program, "run", str(SCENARIOS / scenario), "--results", results]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        summaries = [json.loads(path.read_text()) for path in pathlib.Path(results).glob("*/*/summary.json")]
    return {
        s["arm"]: {"step_s": s["step_time_s"]["median"], "peak_rss_bytes": s["peak_rss_bytes"]} for s in summaries
    }


def peer(script, *options, cap=None):
    """The last line that a peer prints."""
    command = [sys.executable, str(HERE / script), *options]
    enter = cap.enter if cap else None
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=enter)
    return json.loads(run.stdout.splitlines()[-1])


def sgd(program, folder):
    found = ours(program, "out-of-core.yaml", folder)
    found["pytorch memory"] = peer("pytorch_out_of_core.py", "--steps", "4")
    with MemoryCap(CAP_BYTES) as cap:
        options = ("--steps", "4", "--parameters", "mmap", "--folder", folder)
        found["pytorch mmap, 1.6 GB"] = peer("pytorch_out_of_core.py", *options, cap=cap)
    return found


def adam(program, folder):
    found = ours(program, "out-of-core-adam.yaml", folder)
    found["deepspeed nvme"] = peer("deepspeed_nvme.py", "--steps", "3", "--folder", folder)
    return found


def batch(program, folder):
    found = ours(program, "out-of-core-large-batch.yaml", folder)
    found["pytorch memory, batch 512"] = peer("pytorch_out_of_core.py", "--batch", "512", "--steps", "3")
    return found


GROUPS = {"sgd": sgd, "adam": adam, "batch": batch}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="target/release/spillbench")
    parser.add_argument("--folder", default=".", help="where files lie: on the disk to be measured")
    parser.add_argument("--only", default=",".join(GROUPS))
    arguments = parser.parse_args()
    folder = str(pathlib.Path(arguments.folder).resolve())
    for group in arguments.only.split(","):
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append(GROUPS[group](arguments.program, folder))
            print(json.dumps({"group": group, "round": len(rounds), "found": rounds[-1]}), file=sys.stderr)
        for name in rounds[0]:
            print(json.dumps({
                "group": group,
                "system": name,
                "step_s": round(statistics.median(found[name]["step_s"] for found in rounds), 3),
                "steps_s": [round(found[name]["step_s"], 3) for found in rounds],
                "peak_rss_bytes": max(found[name]["peak_rss_bytes"] for found in rounds),
            }), flush=True)


if __name__ == "__main__":
    main()
