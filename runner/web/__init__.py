"""Pages for a browser: a report in one file, and the live page. They show what the views say, and decide nothing."""
