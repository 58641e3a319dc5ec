"""Torch modules: image encoder, value and policy heads, in-graph preprocessing."""
