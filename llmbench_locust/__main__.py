"""`python -m llmbench_locust` is `llmbench`."""

import sys

from llmbench_locust.cli import main

sys.exit(main())
