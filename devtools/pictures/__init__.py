"""The pictures of the README and the help pages, from the project's own runs: `./dev pictures [NAME ...]`."""
