"""Penalties on the parameters, one a file."""
