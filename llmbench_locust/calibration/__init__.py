"""Measures this client's accuracy on this machine against a server with an exact schedule.

`server` has that server, `peers` other clients, `levels` the levels of load (pure), `kept` the
stored results for this machine.
"""
