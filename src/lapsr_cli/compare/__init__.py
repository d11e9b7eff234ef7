"""Pictures beside each other: which belong together, and what of them is shown and measured."""
