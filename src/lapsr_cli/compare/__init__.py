"""Compares the pictures of two or three folders: matching, sizes, scores and an HTML page."""
