"""Which inputs a model goes by: over records exactly, or over clients under differential privacy."""
