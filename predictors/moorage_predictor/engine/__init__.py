"""Weights on disk -> a network that answers. The runtime calls `network.load`; the tasks call `Network.forward`.

    files (find, sha256) -> checkpoint (child process) -> layout (names) -> config (data config) -> network

Importing this package imports neither torch nor timm: the child process that reads a checkpoint starts here too.
"""
