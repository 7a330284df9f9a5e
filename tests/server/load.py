"""Many prompts in a row on one real server, with interrupts, errors and changing sizes in between.

    ./dev bench load [--prompts N] [--seed N]

The prompts are the example workflows with other sizes, steps and seeds. Every now and then one known prompt runs again:
its picture must stay the same bit for bit, and its time and the server's memory must stay where they were.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_path.benchmarks.common import parser
from diffusion_path.devtools.client import Progress, Prompt, PromptError, PromptInterrupted
from diffusion_path.devtools.console import say
from diffusion_path.devtools.inprocess import comfyui_folder
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server
from diffusion_path.devtools.settings import WORKFLOWS
from diffusion_path.devtools.workflow import to_prompt, without_files

REFERENCE = "stroke-to-picture"
SIZES = (128, 192, 256)
MOST_STEPS = 6
GROWTH = 1.05  # of memory: more than one look at it differs from the next
EVERY = 20
# Makes glibc give back what is freed, so that the figure is what is in use.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2"}


@dataclass
class Measured:
    """What the reference prompt gave, each time it ran, and what became of the others."""

    memory: list[float] = field(default_factory=list)  # MiB
    seconds: list[float] = field(default_factory=list)
    pictures: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    unclear: list[str] = field(default_factory=list)

    def growth(self) -> float:
        """Memory of the last third over that of the middle one; in the first, workflows run for the first time."""
        looks = self.memory[1:]
        third = max(1, len(looks) // 3)
        return statistics.median(looks[-third:]) / statistics.median(looks[-2 * third : -third] or looks)

    def slowdown(self) -> float:
        """Time of the last third over that of the first."""
        values = self.seconds[1:]
        third = max(1, len(values) // 3)
        return statistics.median(values[-third:]) / statistics.median(values[:third])


def varied(prompt: Prompt, chance: random.Random) -> Prompt:
    """The same workflow with another size, fewer steps and other seeds."""
    changed = copy.deepcopy(prompt)
    size = chance.choice(SIZES)
    for node in changed.values():
        inputs = node["inputs"]
        inputs |= dict.fromkeys(inputs.keys() & {"size", "width", "height"}, size)
        inputs |= {key: chance.getrandbits(32) for key in sorted(inputs.keys() & {"seed", "noise_seed"})}
        for key, least, most in (("steps", 2, MOST_STEPS), ("batch_size", 1, 2)):
            if isinstance(inputs.get(key), int):
                inputs[key] = min(inputs[key], chance.randint(least, most))
    return changed


def with_a_foreign_latent(prompt: Prompt, chance: random.Random) -> Prompt:
    """One of our nodes gets the latent of another model."""
    changed = copy.deepcopy(prompt)
    places = [
        (node, key)
        for node in changed.values()
        for key, value in node["inputs"].items()
        if node["class_type"].startswith("DPath")
        and key in ("guide", "latent", "latent_image")
        and isinstance(value, list)
    ]
    if places:
        node, key = chance.choice(places)
        foreign = {"class_type": "EmptySD3LatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}}
        changed["9999"] = {**foreign, "_meta": {"title": "foreign"}}
        node["inputs"][key] = ["9999", 0]
    return changed


def run_one(server: Server, prompt: Prompt, chance: random.Random) -> str:
    """Runs a prompt, one in four only until a random moment; returns how it ended."""
    left = chance.randint(1, 40) if chance.random() < 0.25 else -1

    def watch(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            server.client.interrupt()

    try:
        server.client.run(prompt, watch)
    except PromptInterrupted:
        return "interrupted"
    except PromptError as error:
        return str(error)
    return "done"


def resident(pid: int) -> float:
    """MiB that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def worked(pid: int) -> float:
    """Seconds of processor time that a process has taken; other processes do not count, as in wall time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def emptied(server: Server) -> float:
    """Lets the server forget models, results and the list of former prompts, which it keeps on purpose.

    Returns the MiB that it still holds. The worker frees when it wakes up, which on a busy machine may be late.
    """
    assert server.process is not None
    server.client.post("/history", {"clear": True})
    server.client.post("/free", {"unload_models": True, "free_memory": True})
    held, end = [resident(server.process.pid)], time.monotonic() + 20
    while len(held) < 4 or (max(held[-3:]) - min(held[-3:]) > 1 and time.monotonic() < end):
        time.sleep(0.7)
        held.append(resident(server.process.pid))
    return held[-1]


def reference(server: Server, prompt: Prompt, measured: Measured) -> None:
    """Runs the known prompt in an emptied server, and looks at its time, its picture and the memory after it."""
    assert server.process is not None
    emptied(server)
    begin = worked(server.process.pid)
    result = server.client.run(prompt)
    measured.seconds.append(worked(server.process.pid) - begin)
    files = [server.client.picture(image) for _, image in result.images()]
    measured.pictures.add(hashlib.sha256(b"".join(files)).hexdigest())
    measured.memory.append(emptied(server))


def run_load(server: Server, count: int, number: int, every: int = EVERY) -> Measured:
    """`count` prompts with the reference before, after and every `every` of them."""
    chance, measured = random.Random(number), Measured()
    info = server.client.object_info()
    workflows = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(WORKFLOWS.glob("*.json"))}
    prompts = {name: without_files(to_prompt(workflow, info)) for name, workflow in workflows.items()}
    known = varied(prompts[REFERENCE], random.Random(0))
    names: list[str] = []
    for index in range(count):
        if index % every == 0:
            reference(server, known, measured)
        names = names or chance.sample(sorted(prompts), len(prompts))
        prompt = varied(prompts[names.pop()], chance)
        broken = chance.random() < 0.15
        end = run_one(server, with_a_foreign_latent(prompt, chance) if broken else prompt, chance)
        measured.ends[end if end in ("done", "interrupted") else "refused with a sentence"] += 1
        if "\n" in end or "Error" in end or len(end) > 500:
            measured.unclear.append(end)
    reference(server, known, measured)
    return measured


def main() -> int:
    options = parser(__doc__, prompts=200, seed=0).parse_args()
    if not Path("/proc").exists():
        raise SystemExit("The memory of a server can be measured on Linux only: run the benchmark there.")
    os.environ.update(ALLOCATOR)
    with Server(Runtime(Path(sys.executable), comfyui_folder())) as server:
        measured = run_load(server, options.prompts, options.seed)
    say(f"{options.prompts} prompts: {', '.join(f'{count} {end}' for end, count in sorted(measured.ends.items()))}")
    say(f"memory after each look, MiB: {', '.join(f'{value:.0f}' for value in measured.memory)}")
    say(f"memory, last third over middle one: {measured.growth():.4f}")
    say(f"processor seconds of the reference: {', '.join(f'{value:.2f}' for value in measured.seconds)}")
    say(f"time, last third over first: {measured.slowdown():.3f}")
    say(f"pictures of the reference: {len(measured.pictures)} (1 = the same bit for bit each time)")
    for sentence in measured.unclear:
        say(f"unclear: {sentence}")
    return int(len(measured.pictures) != 1 or measured.growth() > GROWTH or bool(measured.unclear))


if __name__ == "__main__":
    sys.exit(main())
