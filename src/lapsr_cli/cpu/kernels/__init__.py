"""The compiled layers."""
