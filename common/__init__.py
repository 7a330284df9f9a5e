"""Shared by all parts of the pack: limits, reading and quoting texts, interrupts, memory."""
