"""Every node that works on a model, on video models, against ``docs/compatibility.md``."""

from __future__ import annotations

import pytest
from diffusion_path.tests.unit import compatibility_page
from diffusion_path.tests.unit.compatibility import row
from diffusion_path.tests.unit.families import EVERY, others

pytestmark = pytest.mark.skipif(compatibility_page.older_core(), reason="the page is that of a newer ComfyUI")


@pytest.mark.parametrize("name", others("Video", "Wan"))
def test_the_page_says_what_happens(name: str) -> None:
    compatibility_page.check(name, row(EVERY[name]))
