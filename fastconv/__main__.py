"""``python -m fastconv``: the same as the command ``fastconv``."""

import sys

from fastconv._cli import main

if __name__ == "__main__":
    sys.exit(main())
