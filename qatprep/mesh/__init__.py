"""Envoy, Istio and Kubernetes: what is rendered for them, and what their dumps say."""
