"""Trains the embedded model from scratch: scenes, attribute classifier, autoencoder, diffusion model, packing."""
