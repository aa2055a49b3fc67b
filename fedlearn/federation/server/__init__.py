"""The server of a federation of sites: SuperLink, queue of runs, and the course of one run.

It holds no records. What it sends is signed by its key in the roster; what it may ask for is
decided by each site.
"""
