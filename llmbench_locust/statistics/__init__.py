"""Statistics for load tests, in which neighbouring requests are correlated. Pure numpy; scipy only
in `comparison`.
"""
