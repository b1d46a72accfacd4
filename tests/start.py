"""``python -m tests.start …`` is ``locust …``, imported as `llmbench serve` imports it: each start
takes half a second of CPU less.
"""

import sys

from llmbench_locust.locust_import import import_locust, uncollected

if __name__ == "__main__":
    with uncollected():
        import_locust()
    sys.argv[0] = "locust"
    sys.exit(sys.modules["locust.main"].main())
