"""The disk: job files, the state folder, what is handed in, run records. Nothing else in this package touches them.

`folders.FolderStore` is the way in; `memory.MemoryStore` stands in for it in tests. Must not import a Task, start a
process or decide what happens to a job.
"""
