"""Text on a node while it runs: the expected cost of a slow method, and its progress."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def announce(text: str, node_id: str | None) -> None:
    """Log a sentence, and show it on the node."""
    log.info("%s", text)
    show(text, node_id)


def show(text: str, node_id: str | None) -> None:
    """Text on the node, where there is a page to show it on."""
    try:
        from server import PromptServer
    except ImportError:
        return
    instance = getattr(PromptServer, "instance", None)
    if instance is not None and node_id is not None:
        instance.send_progress_text(text, node_id)
