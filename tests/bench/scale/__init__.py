"""What rounds with very many clients cost, by rates of this machine: ``python -m tests.bench.scale --json``.

Rates are measured, a model counts what a session of secure aggregation does, and its predictions are held
against whole sessions in the same run. Then it is asked about cohorts that nobody has run here.
"""
