"""``python -m rlbench.cli``."""

from rlbench.cli.main import main

main()
