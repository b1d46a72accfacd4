"""``--dataset-name hf``: datasets of the Hugging Face hub, or local copies of them, through the
``datasets`` library.

`loader` chooses and drives, `source` opens, `table` knows which dataset has which layout; one small
function for each layout stands in `text`, `media` and `tools`. A dataset in none of them works with
``--hf-prompt-column``.
"""

from llmbench_locust.workload.hf.loader import load

__all__ = ["load"]
