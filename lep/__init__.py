"""Map predictors: read edges or other maps from a diffusion model's activations, and steer sampling by them."""
