"""Arithmetic on samples: colour, resizing, planes."""
