"""Finding the path of a given picture: one method per module, each with its paper's name and source."""
