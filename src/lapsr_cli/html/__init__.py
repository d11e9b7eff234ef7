"""HTML that stands alone in one file: sections, tables, charts, pictures to compare. It knows
numbers and pixels, not where they come from; no page asks the network for anything."""
