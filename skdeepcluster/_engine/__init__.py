"""Training: the plan of a fit, the loop over its phases, and the devices."""
