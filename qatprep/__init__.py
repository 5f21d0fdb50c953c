"""Make a Linux node ready for accelerated TLS: Intel QAT or AVX-512 CryptoMB under Envoy and Istio."""
