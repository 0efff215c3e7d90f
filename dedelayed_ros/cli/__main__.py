"""`python -m dedelayed_ros.cli`: the same as the `dedelayed` command."""

import sys

from dedelayed_ros.cli import main

sys.exit(main())
