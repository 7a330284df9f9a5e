"""MDP (Wang et al. 2023): edit a picture by bending the diffusion path of a new prompt towards that of its source.

Notation: A is the source with the prompt c_A, B the target with c_B, x* the edited path, w the weight of A at a step
(`schedule`), D a denoised prediction after CFG. Each manipulation is a clone of the model with wrappers, so that it
works under every sampler and guider and chains with other patches and with itself.
"""
