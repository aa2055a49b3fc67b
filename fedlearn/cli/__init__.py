"""The command line: parses arguments, and imports what a command needs when it runs."""
