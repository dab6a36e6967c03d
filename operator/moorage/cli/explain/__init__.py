"""`moor explain NAME`: why a model does not answer, as a tree of the objects that serve it, with the cause marked.

command.py -> gather.py (reads the cluster) -> tree.py and cause.py (pure) -> screen.py (for people) or JSON
"""
