"""Simulated clients on the machines of a Ray cluster: hosts as actors, in place of processes with sockets."""
