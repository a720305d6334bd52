"""Where tasks run. The scheduler knows only `port.py`."""
