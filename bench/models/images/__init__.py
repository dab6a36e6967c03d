"""The image workload: networks in plain torch, and a classifier around them that every peer imports."""
