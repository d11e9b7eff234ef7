"""The networks of both papers, and what follows from them alone."""
