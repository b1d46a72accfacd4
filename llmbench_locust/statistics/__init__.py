"""Statistics for load tests, in which neighbouring requests are slow together. Pure numpy.

scipy's distributions are imported late: a run that asks for no interval does not load them.
"""
