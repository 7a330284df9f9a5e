"""Inverse problems: what is known of a picture, guidance towards it, and pictures that agree with it exactly."""
