"""The networks of both papers, and what can be derived from them alone."""
