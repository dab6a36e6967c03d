"""Runtime `torchserve`: the network runs in a TorchServe process below this one; everything else is as without it.

    load.py -> archive.py (weights + handler.py -> .mar) -> configuration.py -> process.py (Java, supervised)
    stages -> connection.py, over a Unix socket -> TorchServe -> handler.py in its worker -> logits

V1, V2, gRPC, keys, limits, decoding, batches and metrics are the predictor's own: nobody but it can reach TorchServe.
"""

FAILURE_FILE = "MOORAGE_TORCHSERVE_FAILURE"
"""The variable of the worker's environment that names the file for the reason why the model cannot be loaded."""
