"""The rule book: no clock, no disk, no processes, no randomness of its own."""
