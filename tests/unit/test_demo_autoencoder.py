"""What the embedded autoencoder does to its pictures."""

from __future__ import annotations

import torch
from diffusion_path.demo.autoencoder import without_mesh


def test_a_mesh_is_taken_out_and_all_else_stays() -> None:
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(24.0), indexing="ij")
    smooth = (0.02 * rows - 0.01 * columns).expand(2, 3, -1, -1)
    torch.testing.assert_close(without_mesh(smooth)[..., 4:-4, 4:-4], smooth[..., 4:-4, 4:-4], rtol=0, atol=1e-5)
    for mesh in ((-1) ** rows, (-1) ** columns, (-1) ** (rows + columns)):
        torch.testing.assert_close(without_mesh(smooth + 0.1 * mesh), without_mesh(smooth), rtol=0, atol=1e-5)
    edge = (columns > 11).float().expand(1, 3, -1, -1)
    assert float((without_mesh(edge) - edge).abs().max()) < 0.2
