"""Task `MODULE:CLASS`: a class of the user's, imported and constructed. `wire/adapt.py` finds out what it can do."""

from moorage_predictor.tasks.custom.hooks import HookFailed, Hooks, has_hooks
from moorage_predictor.tasks.custom.imported import construct, import_class

__all__ = ["HookFailed", "Hooks", "construct", "has_hooks", "import_class"]
