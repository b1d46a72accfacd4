"""The server's own metrics during a run: scraped once a second, mapped to one vocabulary.

`vocabulary` has a row for each figure, `reading` parses Prometheus text, `figures` evaluates the
readings of a run (pure), `scraper` is the process that scrapes.
"""
