"""The edit benchmark: its cases, its rows and its figures. The command is `benchmarks.edits`."""
