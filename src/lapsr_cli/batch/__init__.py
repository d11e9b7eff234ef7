"""Folders of pictures: what is to be done (planning), and doing it (pipeline, within a budget)."""
