"""Larger questions than one run answers: each experiment is a loop over `Runs.run`."""
