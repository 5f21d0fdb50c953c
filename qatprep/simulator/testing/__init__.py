"""What tests and demonstrations need of the simulator and no verb does."""
