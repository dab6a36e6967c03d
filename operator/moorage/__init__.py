"""Moorage: one ModelDeployment becomes a production inference service.

The rooms, in the direction in which imports may point:

    api  <-  render  <-  controller  <-  cli

`api` is the contract (the resource, the predictor's settings, reasons, exit codes, metrics) and imports nothing heavy;
the predictor (`moorage_predictor`) and the gateway (`moorage_gateway`) import `api` and nothing else of this package.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
