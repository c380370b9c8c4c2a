"""A script's constants: from the command line, and their good values."""
