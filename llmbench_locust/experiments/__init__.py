"""Experiments of several runs; each is a loop over `Runs.run`."""
