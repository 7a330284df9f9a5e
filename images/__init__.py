"""Picture-space helpers: grids, plots, stroke simulation, masks, exact composites and metrics.

Pure functions on ComfyUI's IMAGE tensors [B, H, W, C] and MASK tensors [B, H, W] with values in 0..1.
"""
