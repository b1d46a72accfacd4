"""`llmbench compare`: result files of two sides → verdicts. Reads ours and those of vLLM."""
