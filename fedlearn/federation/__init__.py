"""Flower as the engine: the only package that imports it.

The server side is :mod:`fedlearn.federation.server_app`; the client side is a thin relay
(:mod:`fedlearn.federation.client_app`) to a resident process that holds data, keys and budget
(:mod:`fedlearn.federation.host`).
"""
