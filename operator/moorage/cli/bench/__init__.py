"""`moor bench`: figures of one model on this machine.

cold_start (the command) -> measure (a predictor, N times) -> report (table, lines or JSON) and picture (SVG)
"""
