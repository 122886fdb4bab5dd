"""Views per second of forward and backward on this machine, by memory format and precision.

    python benchmarks/training_speed.py [--encoders resnet50 tf_efficientnet_lite0] [--size 128] [--json FILE]

``training/semise_training/network/device.py`` chooses the precision by what this shows.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from semise_sdk.models.encoder import create_body
from semise_sdk.system.machine import describe_machine

VARIANTS = (("contiguous", "fp32"), ("channels_last", "fp32"), ("channels_last", "bf16"))


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rows = [
        {"encoder": encoder, "memory": memory, "precision": precision}
        | {
            "views_per_second": round(
                views_per_second(encoder, memory, precision, size=options.size, batch=options.batch), 1
            )
        }
        for encoder in options.encoders
        for memory, precision in VARIANTS
    ]
    table = Table("encoder", "memory format", "precision", "views/s", title=f"{options.size} px, batch {options.batch}")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=2) + "\n")


def views_per_second(encoder: str, memory: str, precision: str, *, size: int, batch: int, steps: int = 3) -> float:
    """Returns the rate of a training step on a resident random batch, after one warm-up."""
    layout = torch.channels_last if memory == "channels_last" else torch.contiguous_format
    body = create_body(encoder).to(memory_format=layout).train()
    planes = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features = body.forward_head(body.forward_features(planes), pre_logits=True)
        features.float().square().mean().backward()
        seconds.append(time.perf_counter() - started)
    return batch * steps / sum(seconds[1:])


if __name__ == "__main__":
    sys.exit(main())
