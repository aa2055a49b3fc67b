"""Which parameters are trained, one choice a file."""
