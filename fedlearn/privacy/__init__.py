"""Differential privacy: mechanisms, their events, the accountant, the ledger and the statement."""
