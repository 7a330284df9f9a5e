"""Measurements of speed, memory and quality, always as ratios against a reference measured in the same run.

`./dev bench` lists them, `./dev bench NAME` runs `benchmarks/NAME.py`, which is a module of the pack with a `main()`
below `if __name__ == "__main__":`. Results worth keeping go to `docs/benchmarks.md` with the command that made them.
"""
