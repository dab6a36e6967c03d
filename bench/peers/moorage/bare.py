"""Our predictor without metrics, request ids and answers about callers, for which it has no setting: a stand-in to measure
what these cost. Started by `launch.py` instead of `moorage_predictor`, with the same options.
"""

import sys
from typing import Any

from moorage_predictor import metrics
from moorage_predictor.__main__ import main
from moorage_predictor.wire import server


def nothing(*_: Any) -> None:
    """Instead of counting."""


metrics.ProtocolMetrics.answered = nothing
metrics.ModelMetrics.spent = nothing
metrics.ModelMetrics.batch = nothing
server.Observed = lambda app, observer: app

if __name__ == "__main__":
    sys.exit(main())
