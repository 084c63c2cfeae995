"""``python -m tea_llm`` is the command line."""

from __future__ import annotations

import sys

from tea_llm.cli import main

if __name__ == "__main__":
    sys.exit(main())
