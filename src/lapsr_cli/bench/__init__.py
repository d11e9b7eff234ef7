"""Measures speed and quality on this machine; reports tables, JSON or one HTML page.

Everything goes through the upscaler and the batch pipeline; there is no inference code here.
"""
