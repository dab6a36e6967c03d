"""What a running predictor tells about itself: numbers, a log line and a trace for each request.

    request -> http.Observed or grpc.observed -> Record, which every room on the way finds in `record.CURRENT`
    at its end -> metrics (always), request_log (--request-log), traces (--otel-endpoint)

Nothing is imported here: what is off is not loaded.
"""
