"""DPathJoinSweeps: a sweep in parts is the sweep in one, and what does not belong together is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.nodes.mdp_edit import MDPSweep
from diffusion_path.nodes.sweep import JoinSweeps, Sweep
from diffusion_path.samplers.mdp.edit import recommended
from diffusion_path.samplers.sweep import share_of
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.test_sweep import FoldingVAE, picture

Run = Callable[..., tuple[Any, ...]]


@pytest.fixture(autouse=True)
def plain_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plot is drawn from, instead of the drawing, which takes longer than the sweeps of these tests."""

    def as_text(*given: Any) -> torch.Tensor:
        return torch.tensor(list(repr(given).encode()))

    monkeypatch.setattr("diffusion_path.images.plot._draw_plot", as_text)


def sdedit(**given: Any) -> tuple[Any, ...]:
    """All outputs, in the order of Join Sweeps."""
    inputs = {"model": gaussian_model(ModelType.EPS), "positive": cond(0.2), "negative": cond(0.0), "seed": 4}
    inputs |= {"vae": FoldingVAE(), "image": picture(2), "steps": 3, "cfg": 1.0, "solver": "sde_small"}
    return Sweep.execute(**{**inputs, "sweep": "t0", "values": "0.2 0.4, 0.6, 0.8 1", **given}).args[:]


def mdp(**given: Any) -> tuple[Any, ...]:
    inputs = {"model": gaussian_model(ModelType.FLOW), "positive": cond(0.9), "negative": cond(0.0), "seed": 5}
    inputs |= {"source": cond(0.2), "latent": {"samples": torch.zeros(1, 4, 8, 8)}, "vae": FoldingVAE(), "steps": 6}
    inputs |= {"cfg": 2.0, "method": "noise", "sweep": "windows", "starts": "1, 0.8", "lengths": "0.05 0.4, 0.6"}
    grid, latents, _, report, cells = MDPSweep.execute(**{**inputs, "weights": "0, 1", **given}).args
    return grid, latents, cells.plot(), report, cells


def joined(*cells: Any, images: Any = None) -> tuple[Any, ...]:
    return JoinSweeps.execute({f"part{i}": each for i, each in enumerate(cells)}, images).args


def assert_same(found: tuple[Any, ...], whole: tuple[Any, ...]) -> None:
    assert torch.equal(found[0], whole[0])
    assert torch.equal(found[1]["samples"], whole[1]["samples"])
    assert torch.equal(found[2], whole[2])
    assert found[3] == whole[3]


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(
    ("run", "given"),
    [(sdedit, {}), (sdedit, {"sweep": "seed", "values": "7 8 9"}), (sdedit, {"reference": picture(12)}), (mdp, {}),
     (mdp, {"sweep": "weights", "weights": "-0.5, 0, 0.5, 1"})],
    ids=["t0", "seed", "reference", "windows", "weights"],
)  # fmt: skip
def test_the_parts_of_a_sweep_are_the_whole_bit_for_bit(run: Run, given: dict[str, Any], parts: int) -> None:
    whole = run(**given)
    found = [run(**given, part=part, parts=parts) for part in range(1, parts + 1)]
    assert torch.equal(torch.cat([each[1]["samples"] for each in found]), whole[1]["samples"])
    *found, report = joined(*(each[4] for each in reversed(found)))[:4]
    assert_same((*found, without_the_cost_of_parts(report)), whole)


def without_the_cost_of_parts(report: str) -> str:
    """The report without the line on what each part found for itself, which the whole does not have."""
    return "\n".join(line for line in report.splitlines() if not line.startswith("and "))


def test_what_each_part_finds_for_itself_is_counted_and_a_shared_path_costs_nothing() -> None:
    one, two = (mdp(part=part, parts=2)[4] for part in (1, 2))
    assert "\nand 12 more, because each of the 2 parts did the latter itself" in joined(one, two)[3]
    path = MDPSweep.execute(
        gaussian_model(ModelType.FLOW), cond(0.9), cond(0.0), cond(0.2), {"samples": torch.zeros(1, 4, 8, 8)}, seed=5,
        vae=FoldingVAE(), steps=6, cfg=2.0, method="noise", sweep="weights", starts="", lengths="", weights="1",
    ).args[2]  # fmt: skip
    shared = [mdp(part=part, parts=2, path=path)[4] for part in (1, 2)]
    assert_same(joined(*shared), mdp(path=path))


def test_a_part_lacks_what_others_run_and_says_so_when_joined_without_them() -> None:
    first, last = sdedit(part=1, parts=2), sdedit(part=2, parts=2)
    assert [line.split()[0] for line in first[3].splitlines()] == ["t0", "0.2", "0.4"]
    assert joined(last[4])[3] == last[3] + "\ninterrupted: 3 of 5 values were run"
    three = [sdedit(part=part, parts=3)[4] for part in (1, 3)]
    assert joined(*three)[3].endswith("\njoined: 3 of 5 values were run")
    assert_same(joined(joined(*three)[4], sdedit(part=2, parts=3)[4]), sdedit())


@pytest.mark.parametrize("run", [sdedit, mdp])
def test_pictures_of_other_machines_take_the_place_of_their_results(run: Run) -> None:
    """As Distributed Collector gives them: the results of all parts, decoded, one after the other."""
    vae = FoldingVAE()
    found = [run(part=part, parts=2) for part in (1, 2)]
    images = torch.cat([vae.decode(each[1]["samples"]) for each in found])
    grid, latents, plot, report, _ = joined(found[0][4], images=images)
    whole = run()
    assert torch.equal(grid, whole[0])
    assert torch.equal(plot, whole[2])
    assert torch.equal(latents["samples"], found[0][1]["samples"])
    assert "elsewhere" in report
    for wrong in (images[:-1], images[:1]):
        with pytest.raises(
            ValueError, match=f"There are {len(wrong)} images for the 5 results .*connect {len(images)}"
        ):
            joined(found[0][4], images=wrong)


def test_parts_are_consecutive_and_as_equal_as_can_be() -> None:
    for count in range(1, 12):
        for parts in range(1, count + 1):
            shares = [share_of(count, part, parts) for part in range(1, parts + 1)]
            assert [place for share in shares for place in share] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("run", [sdedit, mdp])
def test_a_part_that_cannot_be_is_refused_before_any_work(run: Run) -> None:
    model = gaussian_model(ModelType.EPS)
    for part, parts, words in ((3, 2, "no part 3 of 2"), (1, 9, "edits and cannot be split into 9 parts")):
        with pytest.raises(ValueError, match=words):
            run(model=model, part=part, parts=parts)
    assert model.model.evaluations == 0


def test_what_does_not_belong_together_is_not_joined() -> None:
    one = sdedit(part=1, parts=2)[4]
    for other in (sdedit(part=2, parts=2, seed=9), sdedit(part=2, parts=2, positive=cond(0.3)), mdp(part=2, parts=2),
                  sdedit(part=2, parts=2, image=picture(1)), sdedit(part=2, parts=2, values="0.2, 0.5")):  # fmt: skip
        with pytest.raises(ValueError, match="Part 2 is of another sweep than part 1"):
            joined(one, other[4])
    # Without a schedule, a sweep over weights has MDP Edit's own window, which may end sooner.
    weights = {"method": "recommended", "sweep": "weights", "weights": "0, 1", "parts": 2}
    own, given = mdp(part=1, **weights)[4], mdp(part=2, schedule=recommended(6, 2.0).schedule, **weights)[4]
    with pytest.raises(ValueError, match="Part 2 is of another sweep than part 1"):
        joined(own, given)
    with pytest.raises(ValueError, match=r"The result for 0.2 is in two parts"):
        joined(one, sdedit(part=1, parts=3)[4])
