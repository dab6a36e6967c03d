"""A class with all five hooks: how long the words of a text are. Texts that ask for it make a hook fail."""

import numpy as np


class Words:
    """decode: text -> lengths of its words; batch: padded; predict: means; encode: with a verdict."""

    inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    outputs = [
        {"name": "mean", "datatype": "FP32", "shape": [-1]},
        {"name": "verdict", "datatype": "BYTES", "shape": [-1]},
        {"name": "lengths", "datatype": "BYTES", "shape": [-1]},
    ]

    def setup(self, model_dir, device):
        self.batches = []
        self.long = 5.0

    def decode(self, item):
        text = item.decode() if isinstance(item, bytes) else item
        if not text.strip():
            raise ValueError("expected words, found none")
        if text == "fail in decode":
            raise KeyError("hunter2")
        return [len(word) for word in text.split()] if text != "fail in batch" else None

    def batch(self, rows):
        self.batches.append(len(rows))
        padded = np.zeros((len(rows), max(map(len, rows))), np.float32)
        for padding, row in zip(padded, rows, strict=True):
            padding[: len(row)] = row
        return padded

    def predict(self, batch):
        if (batch == 13).any():
            raise RuntimeError("a word of 13 letters")
        means = batch.sum(axis=1) / np.maximum((batch > 0).sum(axis=1), 1)
        return {"mean": means, "lengths": batch}

    def encode(self, row):
        mean = float(row["mean"])
        if mean == 12:
            return self.complain(mean)
        lengths = row["lengths"][row["lengths"] > 0].astype(int).tolist()
        return {"mean": mean, "verdict": "long" if mean > self.long else "short", "lengths": lengths}

    def complain(self, mean):
        raise LookupError(f"no verdict for {mean}")
