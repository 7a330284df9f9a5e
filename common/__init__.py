"""What every part of the pack shares: limits, the reading and quoting of texts, interrupts, memory."""
