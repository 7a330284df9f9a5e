"""The recipe of the embedded model, from nothing: scenes, attribute reader, autoencoder, diffusion model, packing."""
