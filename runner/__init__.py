"""A file-based persistent job queue with a runner that can be killed at any moment and goes on."""
