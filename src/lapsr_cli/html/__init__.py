"""Self-contained HTML pages and SVG files: sections, tables, charts, image comparisons.

These modules format numbers and pixels, wherever they are from. Pages make no network requests.
"""
