"""Whole folders of pictures from the command line, by one process or many: see `__main__.py`."""

KINDS = ("invert", "edit", "sdedit")
DEMO = "demo"
"""Given as the checkpoint: the embedded model."""
CAPTION = "{caption}"
"""Stands for a picture's caption in a prompt."""
