"""Finding the path of a given picture: one method per module, each naming its paper."""
