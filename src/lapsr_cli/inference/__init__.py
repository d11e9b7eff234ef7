"""From samples in memory to pyramids in memory."""
