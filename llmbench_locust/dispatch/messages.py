"""The names of the messages between master and workers. In local mode they are delivered inside the
process.

Each direction has names of its own, because Locust's local runner keeps one table for both.
"""

# master → worker
PLAN = "llmbench_plan"  # {run, wire, permits, prewarm}: a run begins
PING = "llmbench_ping"  # {run, sent_s}
TICKETS = "llmbench_tickets"  # {run, tickets}
GO = "llmbench_go"  # {run, start_s, lease_s}: by the worker's clock
LEASE = "llmbench_lease"  # {run, until_s}: by the worker's clock
PERMITS = "llmbench_permits"  # {run, grant} or {run, recall}
ACK = "llmbench_ack"  # {run, seq}: the report came
HALT = "llmbench_halt"  # {run}: start nothing more
STOP = "llmbench_stop"  # {run}: break off what is in flight, report, forget the run

# worker → master
READY = "llmbench_ready"  # {run, clock, prewarmed, pid, host}
PONG = "llmbench_pong"  # {run, sent_s, worker_s}
REPORT = "llmbench_report"  # see agent.Agent._report
RETURNED = "llmbench_returned"  # {run, permits}
