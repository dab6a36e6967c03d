"""Checks through other projects' clients. Each module runs as a process of its own, because Triton's and KServe's message
types cannot live in one: `python -m tests.e2e.predictor.clients.MODULE ...`.
"""
