"""Scenarios: one question each, with the runs that answer it and the page that shows the answers.

A scenario is an experiment ``NAME.toml`` and its grid ``grids/NAME.toml``: conditions, and remedies under
each of them. Its runs lie in the store of :mod:`~fedlearn.simulation.sweep`, so that finished ones are
never run again; the figures of all of them are kept in ``answers/NAME.json``, and the page is made of
these alone.
"""
