"""`make bench-protocols`: our predictor beside the other Python model servers, interleaved in one run.

protocols.toml -> entrants -> campaign -> {servers -> environments, peers/*/launch}
                                 │            meter -> {http_load (wrk), grpc_load (Go)}
                                 │            checks
                                 └-> summary -> show, a JSON file -> bench/report.py -> docs
"""
