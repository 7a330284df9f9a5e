"""The socket types of the pack; everything else uses ComfyUI's own."""

from __future__ import annotations

from comfy_api.latest import io

DiffusionPath = io.Custom("DIFFUSION_PATH")
PathSchedule = io.Custom("PATH_SCHEDULE")
MapPredictor = io.Custom("MAP_PREDICTOR")
Measurement = io.Custom("MEASUREMENT")
SweepCells = io.Custom("SWEEP_CELLS")
