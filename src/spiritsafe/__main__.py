"""``python -m spiritsafe`` is ``spiritsafe``."""

from spiritsafe.cli import main

main()
