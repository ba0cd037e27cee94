"""`python -m nlcore` is the command line."""

from nlcore.cli import main

main()
