"""Training: what a fit will do, the loop that does it, and what it runs on."""
