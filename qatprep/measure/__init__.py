"""A user's measurements: bench, tune and the advice drawn from them."""
