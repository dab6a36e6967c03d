"""Who is calling, and how often: API keys, JSON Web Tokens, roles and rate limits, before any route. Used by the predictor
and by the gateway; it knows neither.

    request -> asgi.Access or grpc.checked -> Gate.authenticate: Principal, or 401 -> Gate.authorise: or 403 -> the route

Nothing is imported here: what is off is not loaded.
"""
