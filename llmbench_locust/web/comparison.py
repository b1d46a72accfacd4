"""Two runs of the page side by side, as `llmbench compare` has them."""

from __future__ import annotations

import gevent
import orjson

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.web.downloads import result_json

#: Changes within this share are "no change".
EQUIVALENCE = 0.02


def differences(base: Json, new: Json) -> Json:
    """``{head, rows, notes}``: texts. ``base``, ``new``: result documents."""
    # In a thread: the intervals of many requests take a moment, and the page stays alive.
    found: Json = gevent.get_hub().threadpool.apply(_differences, (base, new))
    return found


def _differences(base: Json, new: Json) -> Json:
    from llmbench_locust.compare.engine import compare, default_metrics
    from llmbench_locust.compare.reading import run_of
    from llmbench_locust.compare.tables import HEAD, cells

    try:
        # As the files have them: without NumPy's types.
        before, after = (
            [run_of(name, orjson.loads(result_json(document)))]
            for name, document in (("base", base), ("new", new))
        )
        found = compare("", before, after, default_metrics(before), EQUIVALENCE)
    except (ConfigError, KeyError, ValueError) as e:
        return {"head": [], "rows": [], "notes": [f"These runs cannot be compared: {e}"]}
    rows = [cells(row, EQUIVALENCE) for row in found.rows]
    if found.void:  # the figures stand side by side, without a verdict
        rows = [(*row[:-1], "not comparable") for row in rows]
    return {
        "head": HEAD,
        "rows": rows,
        "notes": [note.text for note in found.notes],
    }
