"""The CPU engine: the network in strips of rows, with layers compiled for this processor."""
