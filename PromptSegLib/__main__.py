"""`python -m PromptSegLib …` is `promptseg …`."""

import sys

from PromptSegLib.cli import main

sys.exit(main())
