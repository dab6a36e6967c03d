"""`python -m moorage` is `moor`."""

from moorage.cli.app import main

main()
