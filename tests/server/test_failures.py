"""What goes wrong is told in one sentence, and the server goes on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from diffusion_path.devtools.client import Client, Progress, PromptError, PromptInterrupted
from diffusion_path.tests.server.graph import Graph, Info, Link


def sdedit(object_info: Info, guide: Link | None = None, mask: Link | None = None, **settings: Any) -> Graph:
    """A graph that edits a stroke painting with the embedded model; every part can be replaced."""
    graph = Graph(object_info)
    model = graph.add("DPathDemoModel")
    strokes = graph.add("DPathDemoScene", look="stroke painting")
    positive = graph.add("CLIPTextEncode", clip=model[1], text=strokes[2])
    negative = graph.add("CLIPTextEncode", clip=model[1], text="")
    latent = graph.add("VAEEncode", pixels=strokes[0], vae=model[2])
    wired = {"model": model[0], "positive": positive[0], "negative": negative[0], "guide": latent[0]}
    settings = {"steps": 2, **wired, **settings}
    if guide is not None:
        settings["guide"] = guide
    edited = graph.add("DPathSDEdit", **settings)
    graph.add("PreviewImage", images=graph.add("VAEDecode", samples=edited[0], vae=model[2])[0])
    return graph


def assert_server_goes_on(client: Client, object_info: Info) -> None:
    assert len(client.run(sdedit(object_info).prompt).images()) == 1


def assert_one_sentence(message: str) -> None:
    assert message.strip() == message
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"t0": 1.5}, "t0"), ({"t0": -0.1}, "t0"), ({"steps": 0}, "steps"), ({"solver": "magic"}, "solver")],
)
def test_settings_out_of_range_are_refused_by_name(
    client: Client, object_info: Info, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(PromptError, match=words) as refusal:
        client.run(sdedit(object_info, **settings).prompt)
    assert_one_sentence(str(refusal.value))


def test_a_latent_of_another_model_is_one_sentence_and_the_next_prompt_works(client: Client, object_info: Info) -> None:
    graph = sdedit(object_info)
    foreign = graph.add("EmptySD3LatentImage", width=256, height=256)
    node = next(node for node in graph.prompt.values() if node["class_type"] == "DPathSDEdit")
    node["inputs"]["guide"] = foreign[0]
    with pytest.raises(PromptError, match="channels") as failure:
        client.run(graph.prompt)
    assert_one_sentence(str(failure.value))
    assert_server_goes_on(client, object_info)


def test_an_interrupt_stops_at_the_next_step_and_the_next_prompt_works(client: Client, object_info: Info) -> None:
    stopped = threading.Event()
    values: list[float] = []

    def stop_at_the_third_step(progress: Progress) -> None:
        if progress.maximum > 100:
            values.append(progress.value)
            if progress.value >= 3 and not stopped.is_set():
                stopped.set()
                client.interrupt()

    endless = sdedit(object_info, steps=1000).prompt
    with pytest.raises(PromptInterrupted, match="interrupted at DPathSDEdit"):
        client.run(endless, stop_at_the_third_step)
    assert stopped.is_set()
    assert max(values) < 100
    assert_server_goes_on(client, object_info)


def test_the_history_keeps_the_sentence(client: Client, object_info: Info) -> None:
    graph = sdedit(object_info)
    foreign = graph.add("EmptySD3LatentImage", width=256, height=256)
    node = next(node for node in graph.prompt.values() if node["class_type"] == "DPathSDEdit")
    node["inputs"]["guide"] = foreign[0]
    prompt_id = client.queue(graph.prompt)
    client.run(sdedit(object_info, steps=1).prompt)  # the queue is worked off in order
    messages = dict(client.history(prompt_id)["status"]["messages"])
    assert messages["execution_error"]["exception_type"] == "ValueError"
    assert_one_sentence(messages["execution_error"]["exception_message"].strip())
