"""Folders of pictures: what is to be done (planning), what is refused (limits), and doing it
(pipeline, within a budget)."""
