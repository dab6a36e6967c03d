"""`moor`: the command line. `app.py` has the commands; each command's work is in a module of its own."""
