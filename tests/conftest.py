"""Locust comes first: it lets gevent patch the standard library, which must happen before anything
has used ssl.
"""

import signal

import locust  # noqa: F401
from hypothesis import HealthCheck, settings

# No test depends on how fast the machine is.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

# Whoever starts the tests may ignore signals, as nohup and the shell's & do; what the tests start
# would go on ignoring them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
