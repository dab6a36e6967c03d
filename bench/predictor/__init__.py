"""`make bench-predictor`: our predictor beside the other Python model servers, classifying real JPEGs.

assets: photos, weights, reference ─┐
predictor.toml -> plan ─────────────┴→ campaign ─→ harness.servers -> peers/*/launch, asked in `dialects`
                                          │        harness.http_files, whose answers `judge` compares
                                          │        processes: floor.py, offline.py
                                          └→ summary -> show, a JSON file -> bench/report.py -> docs
"""
