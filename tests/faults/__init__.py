"""One file for each kind of fault of docs/reliability.md: injected for real, counted, and survived."""
