"""What this client can do on this machine, against a server that keeps an exact schedule.

`server` has that server, `peers` the other clients, `levels` the levels of load (pure), `kept` what
was found on this machine.
"""
