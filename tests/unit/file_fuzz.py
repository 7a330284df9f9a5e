"""Damaged files: mutations of good paths and predictors, each of which must load whole or be refused in a sentence.

    ./dev bench file_fuzz [--count N] [--seed N] [--sentences]

Runs under a limit of memory, so that a file which asks for more than it holds ends the run. Ends with status 1 if
anything was unclear: another error than ValueError, a text that is no sentence, or a loaded value that cannot be used.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusion_path.benchmarks.common import parser
from diffusion_path.devtools.console import say
from diffusion_path.lep.checkpoint import load_predictor, save_predictor
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.lep.public import BatchNormPixelNetwork
from diffusion_path.samplers.path import DiffusionPath, ModelKind
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.replay import replay_sampler
from diffusion_path.views.reports import predictor_report

ROOM = 2**30  # bytes above what the process has when it starts
_JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 10**9, 2**63, 2**70, -0.0, 0.5, 1e300, float("nan"), float("inf"), "", "x", "euler",
    "1" * 5000, "\n", [], {}, [1], [None], {"x": 1}, {"eta": float("nan")}, {"s_churn": "x"}, [[[]]], "x" * 100_000,
)  # fmt: skip
# What Python, PyTorch and safetensors say, and no sentence of ours does.
_FOREIGN = re.compile(
    r"object has no|unexpected keyword|argument must be|must be str|not supported between|list index|NoneType|"
    r"Traceback|dtype=|torch\.Size|\bself\b|integer string conversion|invalid literal|not iterable"
)


def good_path(file: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    levels = torch.tensor([2.0, 1.0, 0.0])
    save_path(
        DiffusionPath(
            levels, torch.randn(3, 1, 4, 4, 4, generator=draw), torch.ones(3), levels, ModelKind("SD15", "EPS", "SD15"),
            "residual", "dpmpp_2m_sde", sampler_options={"eta": 0.5, "solver_type": "midpoint"}, seed=7, cfg=4.0,
            continuous=False, batch_index=(3,), residuals=torch.randn(2, 1, 4, 4, 4, generator=draw), eta=0.7,
            out_scale=torch.ones(4), out_shift=torch.zeros(4), control=torch.tensor([0.5, 0.0]),
            null={"c_crossattn": torch.randn(2, 1, 5, 8, generator=draw)}, figures={"psnr": (31.5,)},
        ), file,
    )  # fmt: skip


def good_predictor(file: Path) -> None:
    channels, settings = (8, 16), {"out_channels": 4, "widths": (8, 8)}
    record = {"steps": 5, "pictures": 2, "validation_loss": 0.5}
    save_predictor(
        MapPredictor(
            network=build_network("mlp", channels, **settings), kind="mlp", taps=("input_blocks.1", "output_blocks.2"),
            channels=channels, model={"network": "UNetModel", "context": None}, settings=settings, record=record,
        ), file,
    )  # fmt: skip


def good_public(file: Path) -> None:
    """A published layout, made small by tensors that share one storage."""
    shapes = {key: value.shape for key, value in BatchNormPixelNetwork((7040,), 9).state_dict().items()}
    state = {f"layers.{3 * i}.{part}": shapes[f"layers.{i}.{part}"] for i in range(5) for part in ("weight", "bias")}
    for i, width in enumerate((512, 256, 128, 64)):
        state |= {f"layers.{3 * i + 2}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    torch.save({"model_state_dict": {key: torch.full(shape, 0.01).half() for key, shape in state.items()}}, file)


def used_path(path: DiffusionPath) -> None:
    assert replay_sampler(path) is not None
    assert path.from_sigma(float(path.sigmas[1])).steps >= 1


def used_predictor(predictor: MapPredictor) -> None:
    assert predictor_report(predictor)
    if predictor.network.noise == "angle":
        seen = predictor.network([torch.ones(1, n, 2, 2) for n in predictor.channels], torch.tensor([0.5]), (2, 2))
        assert seen.shape[0] == 1


Case = tuple[str, Callable[[Path], None], Callable[[Path], Any], Callable[[Any], None]]
CASES: tuple[Case, ...] = (
    ("path.safetensors", good_path, load_path, used_path),
    ("predictor.safetensors", good_predictor, load_predictor, used_predictor),
    ("published.pt", good_public, load_predictor, used_predictor),
)


def flipped(content: bytes, chance: random.Random, end: int | None = None) -> bytes:
    """Some bytes changed; end: only those before it."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        changed[chance.randrange(end or len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return content + chance.randbytes(chance.randint(1, 64))
    return content[: chance.randrange(len(content))]


def other_header(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose header says something else, in good JSON."""
    length = struct.unpack("<Q", content[:8])[0]
    header, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = chance.choice([key for key in header if key != "__metadata__"])
    entry, notes = header[name], header["__metadata__"]
    kind = chance.choice(
        ["dtype", "shape", "offsets", "drop", "rename", "note", "note", "note", "inner", "inner", "nan"]
    )
    if kind == "dtype":
        entry["dtype"] = chance.choice(("F16", "F64", "I64", "BOOL", "F8_E4M3", "x", 3))
    elif kind == "shape":
        entry["shape"] = [chance.choice((0, 1, 2, 4, 16, -1, 10**12, 1.5, None)) for _ in range(chance.randint(0, 5))]
    elif kind == "offsets":
        entry["data_offsets"][chance.randint(0, 1)] = chance.choice((0, -4, 10**15, len(values), 4, "4"))
    elif kind == "drop":
        del header[name]
    elif kind == "rename":
        header[name + "x"] = header.pop(name)
    elif kind == "nan":
        begin, end = entry["data_offsets"]
        if end - begin >= 4:
            place = begin + 4 * chance.randrange((end - begin) // 4)
            wrong = struct.pack("<f", chance.choice((float("nan"), float("inf"))))
            values = values[:place] + wrong + values[place + 4 :]
    else:
        key = "spec" if kind == "inner" and "spec" in notes else chance.choice(sorted(notes))
        value = json.loads(notes[key]) if key != "format" else notes[key]
        if kind == "inner" and isinstance(value, dict) and value:
            value[chance.choice([*value, "more"])] = chance.choice(_JUNK)
            notes[key] = json.dumps(value)
        elif chance.random() < 0.1:
            del notes[key]
        else:
            notes[key] = chance.choice((json.dumps(chance.choice(_JUNK)), chance.choice(("", "{", "1" * 5000, "NaN"))))
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + values


def other_pickle(content: bytes, chance: random.Random) -> bytes:
    """A .pt archive whose list of tensors has changed bytes, with right checksums."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as changed:
        for entry in good.infolist():
            value = good.read(entry)
            changed.writestr(entry.filename, flipped(value, chance) if entry.filename.endswith("data.pkl") else value)
    return made.getvalue()


def mutated(name: str, content: bytes, chance: random.Random) -> bytes:
    archive = name.endswith(".pt")
    kind = chance.choice(("flip", "head", "cut", "shaped", "shaped", "shaped"))
    if kind == "shaped":
        return (other_pickle if archive else other_header)(content, chance)
    start = 2000 if archive else struct.unpack("<Q", content[:8])[0] + 8
    return cut(content, chance) if kind == "cut" else flipped(content, chance, start if kind == "head" else None)


def outcome(case: Case, file: Path) -> tuple[str, str]:
    """What became of a file: loaded, refused or unclear; and what was said."""
    _, _, load, use = case
    try:
        loaded = load(file)
    except Exception as error:
        text = str(error)
        clear = type(error) is ValueError and "\n" not in text and text.endswith(".") and len(text) < 500
        return ("refused", text) if clear and not _FOREIGN.search(text) else ("unclear", repr(error))
    try:
        use(loaded)
    except Exception as error:
        return "unclear", f"loaded, but in use {error!r}"
    return "loaded", ""


@contextlib.contextmanager
def limited_memory(room: int = ROOM) -> Iterator[None]:
    """No more than `room` bytes above what this process has, where the system can limit it."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(case: Case, count: int, number: int) -> tuple[Counter[str], set[str]]:
    """How `count` mutations of a good file ended, and the texts of those that were not loaded."""
    name, make, load, _ = case
    chance = random.Random(number)
    ends: Counter[str] = Counter()
    texts: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, limited_memory():
        file = Path(folder) / name
        make(file)
        load(file)
        content = file.read_bytes()
        for _ in range(count):
            file.write_bytes(mutated(name, content, chance))
            end, text = outcome(case, file)
            ends[end] += 1
            texts |= {f"{end}: {text}"} if text else set()
    return ends, texts


def main() -> int:
    options = parser(__doc__, seed=0)
    options.add_argument("--count", type=int, default=5000, help="mutations of each kind of file")
    options.add_argument("--sentences", action="store_true", help="print what users would read")
    given, unclear = options.parse_args(), 0
    for case in CASES:
        ends, texts = fuzz(case, given.count, given.seed)
        unclear += ends["unclear"]
        say(f"{case[0]}: {', '.join(f'{number} {end}' for end, number in sorted(ends.items()))}")
        shown = sorted(text for text in texts if given.sentences or text.startswith("unclear"))
        say("\n".join(f"  {text[:300]}" for text in shown))
    return int(unclear > 0)


if __name__ == "__main__":
    sys.exit(main())
