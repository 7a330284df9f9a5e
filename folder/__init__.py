"""Whole folders of pictures from the command line, by one process or many: see `__main__.py`."""
