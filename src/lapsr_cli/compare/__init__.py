"""Comparison of pictures from two or three folders: matching, sizes, scores, and an HTML page."""
