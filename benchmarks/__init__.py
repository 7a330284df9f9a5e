"""Measurements of speed, memory and quality, always as ratios against a reference measured in the same run.

`./dev bench NAME` runs `benchmarks/NAME.py` as a module of the pack; long versions of tests live with the tests.
Results worth keeping go to `docs/benchmarks.md` with the command that made them.
"""
