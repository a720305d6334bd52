"""`make demo`: a small site on loopback is scraped, killed half way, resumed.

It drives the command line as a user would, and imports nothing of the engine.
"""
