#!/usr/bin/env python3
"""Times training steps of a deep square perceptron in DeepSpeed: ZeRO stage 3 with parameters and Adam's state on disk.

One process on the CPU. It computes in bf16 with an f32 master where the CPU has products in bf16, else in f32: without
them, torch multiplies in bf16 on one thread, a hundred times slower. Prints one JSON object. Needs torch, deepspeed and
ninja, and libaio's headers.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time

# Its operators are compiled at the first run, by the ninja beside this Python.
os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
for name, value in {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29571",
}.items():
    os.environ.setdefault(name, value)

import deepspeed  # noqa: E402  (reads the environment set above)
import torch  # noqa: E402


def configuration(folder, width, batch, precision):
    largest = width * width
    return {
        "train_batch_size": batch,
        "bf16": {"enabled": precision == "bf16"},
        "optimizer": {"type": "Adam", "params": {"lr": 1e-4}},
        "zero_optimization": {
            "stage": 3,
            "sub_group_size": largest,
            "stage3_max_live_parameters": 2 * largest,
            "stage3_max_reuse_distance": 2 * largest,
            "stage3_prefetch_bucket_size": largest,
            "stage3_param_persistence_threshold": 0,
            "offload_param": {
                "device": "nvme", "nvme_path": folder, "buffer_count": 4, "buffer_size": largest + 1024,
                "pin_memory": False,
            },
            "offload_optimizer": {
                "device": "nvme", "nvme_path": folder, "buffer_count": 5, "pin_memory": False,
                # With pipelines it needs more buffers, and two steps of a quarter of this network took over 200 s.
                "pipeline_read": False, "pipeline_write": False,
            },
        },
        "aio": {
            "block_size": 1048576, "queue_depth": 16, "thread_count": 1, "single_submit": False,
            "overlap_events": True,
        },
        "zero_allow_untested_optimizer": True,
        "wall_clock_breakdown": False,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    fastest = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "f32"
    parser.add_argument("--precision", choices=["f32", "bf16"], default=fastest)
    parser.add_argument("--folder", help="where files lie (a folder inside it is made and removed)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    folder = tempfile.mkdtemp(dir=arguments.folder)
    # What the libraries print must not mix with the result.
    result, sys.stdout = sys.stdout, sys.stderr
    try:
        deepspeed.init_distributed(dist_backend="gloo")
        config = configuration(folder, arguments.width, arguments.batch, arguments.precision)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.precision]
        with deepspeed.zero.Init(config_dict_or_path=config):
            layers = []
            for _ in range(arguments.depth):
                layers += [torch.nn.Linear(arguments.width, arguments.width), torch.nn.ReLU()]
            model = torch.nn.Sequential(*layers, torch.nn.Linear(arguments.width, 10))
        engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
        loss = torch.nn.CrossEntropyLoss()
        x = torch.rand(arguments.batch, arguments.width, dtype=dtype)
        labels = torch.arange(arguments.batch) % 10
        times = []
        for _ in range(arguments.steps):
            start = time.perf_counter()
            engine.backward(loss(engine(x).float(), labels))
            engine.step()
            times.append(time.perf_counter() - start)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({
        "peer": f"deepspeed {deepspeed.__version__}, torch {torch.__version__}",
        "optimizer": "adam",
        "precision": arguments.precision,
        "batch": arguments.batch,
        "threads": arguments.threads,
        # The first step allocates and warms up.
        "step_s": round(statistics.median(times[1:]), 3),
        "steps_s": [round(value, 3) for value in times],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }), file=result)


if __name__ == "__main__":
    main()
