"""Every example workflow runs on a real server and the embedded model, and makes pictures.

Those for other models run up to where they need files (`tests/unit/test_example_models.py` runs the rest).
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_path.devtools.client import Client, Progress
from diffusion_path.devtools.workflow import shortened, to_prompt, without_files
from PIL import Image

TRAINING = {"steps": 6, "batch_size": 2}
WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "example_workflows").glob("*.json"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_example_workflow_runs(path: Path, client: Client, object_info: dict[str, dict[str, Any]]) -> None:
    prompt = shortened(without_files(to_prompt(json.loads(path.read_text(encoding="utf-8")), object_info)))
    for node in prompt.values():
        if node["class_type"] == "DPathTrainMapPredictor":
            node["inputs"] |= TRAINING
    fractions: list[float] = []

    def watch(progress: Progress) -> None:
        fractions.append(progress.fraction)

    result = client.run(prompt, watch)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions), "progress must not go back"
    pictures = [image for _, image in result.images()]
    assert pictures
    for picture in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(client.picture(picture))).convert("RGB"))
        assert pixels.std() > 1.0, f"{picture['filename']} is flat"
    status = client.history(result.prompt_id)["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
