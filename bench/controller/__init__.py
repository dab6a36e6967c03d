"""`make bench-operator`: the controller with very many models on a real API server. world.py has the parts, __main__ the run."""
