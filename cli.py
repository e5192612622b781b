"""Start unmask from a checkout: `python cli.py ...` is what `unmask ...` is once installed."""

import sys

from unmask.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
