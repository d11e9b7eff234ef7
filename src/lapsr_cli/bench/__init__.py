"""Measures speed and quality on this machine and reports them as tables, JSON or one HTML page.

Everything goes through the upscaler and the batch pipeline; there is no inference code here.
"""
