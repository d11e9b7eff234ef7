"""Picture quality: one metric per module, and the protocol of the papers."""
