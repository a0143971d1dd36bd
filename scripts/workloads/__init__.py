"""Seeded Kubernetes manifests that supercargo is tried on."""
