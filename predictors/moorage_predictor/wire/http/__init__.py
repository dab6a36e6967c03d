"""V1 and V2 over HTTP, as one ASGI application.

socket -> protocol (limits of a connection) -> app (path -> handler) -> body -> decode -> the model -> encode -> answers
"""
