"""A run: all rounds of an experiment over any transport, and the directory that it leaves."""
