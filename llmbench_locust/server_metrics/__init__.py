"""What the server says of itself during a run: read once a second, mapped to one vocabulary.

`vocabulary` has a row for each figure, `reading` parses Prometheus text, `figures` compares the
readings of a run (pure), `scraper` is the process that reads.
"""
