"""A site: the resident process that holds records, keys and budget, and what keeps it running.

The server's messages are data; the site's own ``site.toml`` decides. The SuperNode beside it, and
whatever code Flower starts there, can reach nothing but the agent's socket.
"""
