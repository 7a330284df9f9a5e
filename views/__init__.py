"""What nodes show: sheets of pictures, plots, and the texts of their reports."""
