"""What secure aggregation costs, against this machine's own AES and against Flower's SecAgg+.

``python -m tests.bench.secagg --json`` prints one JSON line per figure, ``--only 'mask|quantise'`` those of
the groups that start so. Machines differ and are shared: both sides of a ratio are measured in turn, in one
run, and medians are given with the least and the greatest. Seconds are CPU time of one thread. Bars in
seconds are those of a core that expands 11 GB/s of AES-128-CTR; the ratio beside them says how far the
keystream alone is.

Flower's side is the script ``flower_secagg_bench.py`` in the folder FEDLEARN_PEERS, or ``../shared/peers``;
without it those figures come without a reference.
"""
