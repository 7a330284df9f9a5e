"""The latent edge predictor: reads edges from a diffusion model's activations, and steers sampling by them."""
