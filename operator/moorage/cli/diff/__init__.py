"""`moor diff [FILE]`: what an edited file, or this version of Moorage, would change in the cluster. Nothing is written.

command.py -> plan.py (server-side dry runs of the whole) -> screen.py (a coloured diff, and whose pods would be replaced)
"""
