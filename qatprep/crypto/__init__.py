"""The engines: signing with QAT, crypto_mb and OpenSSL, checked and measured."""
