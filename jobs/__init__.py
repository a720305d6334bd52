"""What people run: plain user code, found by name at run time."""
