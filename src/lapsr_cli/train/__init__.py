"""Training: a recipe, pictures, and a folder that a run grows in. `session` puts them together."""
