"""Folders of pictures: what to do (planning), what to refuse (limits), and the pipeline that
does it within a memory budget."""
