"""Statistics for load tests, in which neighbouring requests are slow together. Pure numpy;
scipy only in `comparison`.
"""
