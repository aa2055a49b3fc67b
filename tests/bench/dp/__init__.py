"""What differential privacy costs: steps against Opacus, memory, noise and accounting.

``python -m tests.bench.dp`` prints one line per figure, ``--json`` one JSON object per line, and
``--only PATTERN`` runs the groups whose names begin with the pattern. Everything runs on one thread and
takes turns with what it is compared with. All groups together take about five minutes on a quiet core.
Accuracy is measured elsewhere: ``python -m tests.bench.dp_fashion``.
"""
