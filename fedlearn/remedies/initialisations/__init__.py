"""Where weights to start from come from, one a file."""
