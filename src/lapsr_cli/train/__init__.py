"""Training: recipe, dataset, patches, loss, optimizer, checkpoints. `setup` puts them together."""
