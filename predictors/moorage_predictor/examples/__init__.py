"""Models to try the server with, and to start one's own from."""
