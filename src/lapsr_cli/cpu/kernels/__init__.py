"""Layers of the network, compiled for the processor at hand."""
