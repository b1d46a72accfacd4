"""Locustfiles that come with the package: `llmbench serve` runs `serve.py`."""
