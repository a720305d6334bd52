"""What a state folder is shown as: readers that return structs, for the command line, pages and programs.

Nothing here prints, waits for a runner, or imports a task, pandas or requests: jobs are looked at as files. All of it
is correct beside a live runner, which moves jobs while they are looked at. Nothing here changes anything, but for
`repair`, which says so and takes the runner lock.
"""
