"""The maths of diffusion paths on ComfyUI's sampler contract: pure torch, no nodes, no files, no user interface."""
