"""The values of a node's widgets outside of a graph: its defaults, and those of a prompt saved for the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfy_api.latest import io

from ..common.texts import quoted


def defaults(inputs: Iterable[Any]) -> dict[str, Any]:
    """What the widgets among these inputs of a schema start with; without choices that have inputs of their own."""
    found = {}
    for each in inputs:
        if getattr(each, "default", None) is not None:
            found[each.id] = each.default
        elif isinstance(each, io.Combo.Input) and not each.optional:
            found[each.id] = each.options[0]
    return found


def filled(inputs: Iterable[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All widgets as core gives them to a node, from those of a prompt: "method", "method.iterations", ...

    Raises ValueError for a name that no widget has, and for a choice that does not exist.
    """
    values, known = defaults(inputs), set[str]()
    for each in inputs:
        if isinstance(each, io.DynamicCombo.Input):
            key, prefix = given.get(each.id, each.options[0].key), f"{each.id}."
            option = next((option for option in each.options if option.key == key), None)
            if option is None:
                keys = ", ".join(option.key for option in each.options)
                raise ValueError(f"{each.id} is {quoted(key)}: choose one of {keys}.")
            own = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
            values[each.id] = {each.id: key, **filled(option.inputs, own)}
            known |= {each.id, *(prefix + name for name in own)}
        elif isinstance(each, io.WidgetInput) and each.id in given:
            values[each.id] = given[each.id]
            known.add(each.id)
    unknown = sorted(given.keys() - known)
    if unknown:
        names = ", ".join(each.id for each in inputs if isinstance(each, (io.WidgetInput, io.DynamicCombo.Input)))
        raise ValueError(f"There is no setting {quoted(unknown[0])} here: those are {names}.")
    return values
