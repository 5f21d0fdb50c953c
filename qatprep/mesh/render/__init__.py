"""Configuration printed for Envoy, Istio and Kubernetes."""
