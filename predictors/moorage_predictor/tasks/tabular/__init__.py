"""Task `tabular`: rows of named features in; a class with probabilities, or a number, out; with reasons if asked for.

    formats (which kind of file) -> estimators/* (what it computes) ─┐
    schema (names, types, bounds) ───────────────────────────────────┴─> TabularModel -> wire/tabular.py

A scikit-learn, XGBoost, LightGBM, ONNX or torch library is imported only for a model of its kind, and what explains only
when the first explanation is asked for.
"""

from moorage_predictor.tasks.tabular.model import Explained, Prediction, TabularModel
from moorage_predictor.tasks.tabular.schema import Feature, Schema

__all__ = ["Explained", "Feature", "Prediction", "Schema", "TabularModel"]
