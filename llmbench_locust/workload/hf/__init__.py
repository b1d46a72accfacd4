"""``--dataset-name hf``: datasets of the Hugging Face hub, or local copies of them, loaded with the
``datasets`` library.

`loader` makes the requests, `source` opens datasets, `table` lists the known datasets. `text`,
`media` and `tools` have one small function for each layout. Other datasets work with
``--hf-prompt-column``.
"""

from llmbench_locust.workload.hf.loader import load

__all__ = ["load"]
