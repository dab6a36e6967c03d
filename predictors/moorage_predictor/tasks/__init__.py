"""What a model is for: decode -> preprocess -> forward -> postprocess, free of any protocol."""
