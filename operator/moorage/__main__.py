"""`python -m moorage` is `moor`."""

from moorage.cli.main import main

main()
