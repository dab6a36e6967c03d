"""The real control plane behind the cluster tests: where its binaries come from, its certificates, its processes."""
