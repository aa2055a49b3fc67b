"""No test may fail because a machine is slow: hypothesis sets its examples no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
