#!/usr/bin/env python3
"""Times training steps of a deep square perceptron in PyTorch whose parameters live in memory or in mapped files.

With --parameters mmap every parameter is a mapped file, and plain SGD is applied by a hook as soon as a gradient is
there, so that one gradient exists at a time: the best that PyTorch does by itself for a network larger than memory.
Prints one JSON object. Needs torch.
"""

import argparse
import json
import pathlib
import resource
import statistics
import tempfile
import time

import torch


def linear(inputs, units, folder):
    """A linear layer; with a folder, its parameters are files there, written first so that no step pays for holes."""
    if folder is None:
        return torch.nn.Linear(inputs, units)
    layer = torch.nn.Linear(inputs, units, device="meta")
    for name, parameter in list(layer.named_parameters()):
        file = str(pathlib.Path(folder) / f"{len(list(pathlib.Path(folder).iterdir()))}-{name}")
        mapped = torch.from_file(file, shared=True, size=parameter.numel(), dtype=torch.float32)
        with torch.no_grad():
            mapped.uniform_(-inputs**-0.5, inputs**-0.5)
        setattr(layer, name, torch.nn.Parameter(mapped.view(parameter.shape)))
    return layer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parameters", choices=["plain", "mmap"], default="plain")
    parser.add_argument("--folder", help="where mapped files lie (a folder inside it is made and removed)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        mapped = folder if arguments.parameters == "mmap" else None
        layers = []
        for _ in range(arguments.depth):
            layers += [linear(arguments.width, arguments.width, mapped), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers, linear(arguments.width, 10, mapped))

        @torch.no_grad()
        def apply(parameter):
            parameter.add_(parameter.grad, alpha=-0.001)
            parameter.grad = None

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(apply)
        loss = torch.nn.CrossEntropyLoss()
        x, labels = torch.rand(arguments.batch, arguments.width), torch.arange(arguments.batch) % 10
        times = []
        for _ in range(arguments.steps):
            start = time.perf_counter()
            loss(model(x), labels).backward()
            times.append(time.perf_counter() - start)

    print(json.dumps({
        "peer": f"pytorch {torch.__version__}",
        "parameters": arguments.parameters,
        "batch": arguments.batch,
        "threads": arguments.threads,
        # The first step maps, allocates and warms up.
        "step_s": round(statistics.median(times[1:]), 3),
        "steps_s": [round(value, 3) for value in times],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
