"""The runner as its users meet it: the command line, real processes, real kills, a real web server."""
