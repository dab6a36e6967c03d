"""The controller: keeps what a cluster has equal to what its ModelDeployments ask for.

kopf and watches -> store -> queue -> reconcile: observe -> render -> apply -> evaluate -> patch status if changed
"""
