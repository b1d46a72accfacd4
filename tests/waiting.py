"""For tests on gevent's loop: wait for what must come, however slow the machine is."""

import gevent

#: For greenlets, threads and sockets in the test's own process.
MOST_S = 60.0


def until(condition):
    """Returns once ``condition()`` holds. Raises gevent.Timeout after `MOST_S`."""
    with gevent.Timeout(MOST_S):
        while not condition():
            gevent.sleep(0.001)
