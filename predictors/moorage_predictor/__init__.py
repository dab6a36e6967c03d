"""The predictor: one process that loads one model and answers V1, V2 REST and V2 gRPC.

    __main__ -> runtime -> {storage -> engine -> tasks} in a thread, behind wire

Importing this package is cheap; torch, timm and kserve are imported by the rooms that need them, for the models that do.
"""

import time

BEGAN = time.monotonic()
"""When the interpreter had started and came to us."""
