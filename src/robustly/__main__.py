"""python -m robustly: the same as the `robustly` command."""

import sys

from robustly.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
