"""The command line: ``main`` has the entry point, each other module a family of commands."""
