"""KServe's own ModelServer with the model that echoes: `python -m tests.e2e.conformance.kserve_server HTTP_PORT GRPC_PORT`.

What the conformance suite finds here is what a plain `kserve.Model` gets without Moorage.
"""

import sys


def main(http_port: int, grpc_port: int) -> None:
    sys.argv = sys.argv[:1]  # kserve parses it when it is imported
    from kserve import ModelRepository, ModelServer

    from moorage_predictor.examples.identity import Identity

    class Repository(ModelRepository):
        """As KServe's documentation says to: a model that was unloaded can be loaded again."""

        def load(self, name: str) -> bool:
            if name != "identity":
                return False
            self.update(Identity(name))
            return True

    server = ModelServer(http_port=http_port, grpc_port=grpc_port, registered_models=Repository())
    server.start([Identity("identity")])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
