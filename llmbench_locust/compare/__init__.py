"""`llmbench compare`: verdicts from the result files of two sides. Reads ours and vLLM's."""
