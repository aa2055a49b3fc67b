"""What becomes of a run's model: evaluated, used, exported and explained, from its run directory alone."""

from fedlearn.results.loading import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
