"""What a job costs, beside what its file operations alone cost. Run by `make bench`.

Each module has --help and --smoke.
"""
