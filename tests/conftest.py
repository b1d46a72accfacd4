"""Locust comes first: it lets gevent patch the standard library, which must happen before anything
has used ssl.
"""

import locust  # noqa: F401
