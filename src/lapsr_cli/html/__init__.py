"""Self-contained HTML pages and SVG files: sections, tables, charts, image comparisons.

These modules format numbers and pixels and know nothing of where they come from. No page makes a
network request.
"""
