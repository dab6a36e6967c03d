"""What the benchmarks share: one server at a time, started, asked, measured and stopped, beside others in locked environments.

    peers/*/launch -> Launch -> servers (environments) -> meter (load) -> show
                                   grid: points, best points           machine: what stands beside the figures

Used by `bench.protocols` and `bench.predictor`.
"""
