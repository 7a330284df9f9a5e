"""The embedded world: rendered landscapes and a small text-conditioned latent diffusion model of them."""
