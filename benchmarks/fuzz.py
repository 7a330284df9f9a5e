"""Random prompts on a real server: 500 valid, 500 broken and 500 hostile ones, and what became of them.

    ./dev bench fuzz [--valid N] [--broken N] [--hostile N] [--seed N]

Hostile prompts link a value that nothing should make (NaN, empty tensors, 10 MB of text, a model that fails) to one of
our nodes. Ends with status 1 if the server ended, was silent for long, or said something that is no clear sentence.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from ..devtools.inprocess import comfyui_folder
from ..devtools.random_prompts import (
    Outcome,
    broken_prompts,
    hostile_prompts,
    link_hostile,
    outcome,
    save_a_path,
    valid_prompts,
)
from ..devtools.runtime import Runtime
from ..devtools.server import Server

CALM = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def run(server: Server, info: dict[str, Any], strategy: Any, count: int, number: int) -> list[Outcome]:
    """What became of `count` prompts; unclear ones are printed."""
    found: list[Outcome] = []

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate], print_blob=False,
              suppress_health_check=CALM)  # fmt: skip
    @given(strategy(info))
    def one(prompt: dict[str, Any]) -> None:
        result = outcome(server.client, prompt)
        found.append(result)
        if not result.clear:
            print(f"\n{result}\n{json.dumps(prompt)}", flush=True)
        if len(found) % 50 == 0:
            print(f"{len(found)} of {count}", flush=True)

    one()
    return found


def report(title: str, found: list[Outcome]) -> int:
    """Prints what became of them; returns how many were not clear."""
    kinds = Counter(result.kind for result in found)
    unclear = sum(not result.clear for result in found)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
    print(f"{title}: {len(found)} prompts: {counts}; {unclear} unclear")
    return unclear


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--valid", type=int, default=500)
    parser.add_argument("--broken", type=int, default=500)
    parser.add_argument("--hostile", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sentences", action="store_true", help="print what users would read")
    options = parser.parse_args(arguments)
    unclear = 0
    server = Server(Runtime(Path(sys.executable), comfyui_folder()), 0, None)
    server.options = link_hostile(server.base)
    with server:
        save_a_path(server.client, server.client.object_info())
        info = server.client.object_info()
        for title, strategy, count in (
            ("valid", valid_prompts, options.valid),
            ("broken", broken_prompts, options.broken),
            ("hostile", hostile_prompts, options.hostile),
        ):
            if not count:
                continue
            found = run(server, info, strategy, count, options.seed)
            unclear += report(title, found)
            if options.sentences:
                print("\n".join(sorted({f"  {one.kind} {one.node}: {one.message[:300]}" for one in found})))
        assert server.process is not None
        print("the server goes on" if server.process.poll() is None else "THE SERVER ENDED")
        return int(unclear > 0 or server.process.poll() is not None)


if __name__ == "__main__":
    sys.exit(main())
