#!/usr/bin/env python3
"""Times training steps of multilayer perceptrons in PyTorch, in memory.

The networks, the data and the windows are those of harness/kernels/examples/step.rs; prints one JSON
object a line. Needs torch. Usage: pytorch_mlp.py [--threads N] [--seconds S] [--windows W] [NAME ...]
"""

import argparse
import json
import statistics
import time

import torch

NETWORKS = {
    "784-1024-1024-10/64": ([784, 1024, 1024, 10], 64),
    "784-1024-1024-10/256": ([784, 1024, 1024, 10], 256),
    "784-4096x4-10/64": ([784, 4096, 4096, 4096, 4096, 10], 64),
    "784-4096x4-10/256": ([784, 4096, 4096, 4096, 4096, 10], 256),
    "784-128-10/32": ([784, 128, 10], 32),
    "8192x2/64": ([8192, 8192, 8192], 64),
    "8192x2/512": ([8192, 8192, 8192], 512),
}


def network(widths):
    layers = []
    for inputs, units in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def flops(widths, batch):
    """Of the products of a step; the input's error is not computed."""
    pairs = list(zip(widths, widths[1:]))
    return 2 * batch * (3 * sum(a * b for a, b in pairs) - pairs[0][0] * pairs[0][1])


def median_rates(step, seconds, windows):
    """Steps a second, by wall clock and by CPU time."""

    def window():
        start, cpu_start, steps = time.perf_counter(), time.process_time(), 0
        while steps == 0 or time.perf_counter() - start < seconds:
            step()
            steps += 1
        return steps / (time.perf_counter() - start), steps / (time.process_time() - cpu_start)

    window()
    return map(statistics.median, zip(*(window() for _ in range(windows))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    for name in arguments.names or NETWORKS:
        widths, batch = NETWORKS[name]
        torch.manual_seed(0)
        model = network(widths)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        loss = torch.nn.CrossEntropyLoss()
        x, labels = torch.rand(batch, widths[0]), torch.arange(batch) % 10

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss(model(x), labels).backward()
            optimizer.step()

        rate, cpu_rate = median_rates(step, arguments.seconds, arguments.windows)
        print(json.dumps({
            "peer": f"pytorch {torch.__version__}",
            "network": name,
            "threads": arguments.threads,
            "steps_per_s": round(rate, 2),
            "gflops": round(rate * flops(widths, batch) / 1e9, 1),
            "gflops_by_cpu_time": round(cpu_rate * flops(widths, batch) / 1e9, 1),
        }), flush=True)


if __name__ == "__main__":
    main()
